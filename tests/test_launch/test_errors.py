# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Mistakes end in one sentence, bugs in a traceback."""

import json

import numpy as np
import pytest
import torch
from helpers import toy_project
from mmengine.logging import MessageHub, MMLogger
from mmengine.model import BaseModule
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer

from mmcae.checkpoint.download import DownloadError
from mmcae.config.overrides import ConfigError, load_config
from mmcae.launch import errors
from mmcae.launch.errors import clear_errors, run
from mmcae.launch.runner import build_runner, set_loader_defaults, train


@pytest.fixture
def toy(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv('MMCAE_TRACEBACK', raising=False)
    path = toy_project.write(tmp_path)
    with path.open('a') as file:
        file.write("work_dir = 'runs'\n")
    return path


def train_toy(path, options):
    """What ``tools/train.py`` does, in this process."""
    # mmengine names its singletons by the second: forget earlier runs.
    for manager in (DefaultScope, MessageHub, MMLogger, Visualizer):
        manager._instance_dict.clear()
    cfg = load_config(path, options)
    set_loader_defaults(cfg)
    train(build_runner(cfg))


HINT = ' (MMCAE_TRACEBACK=1 shows where)'
#: (options, exit status, end of the message)
MISTAKES = [
    # the config, read by us
    ({'model.widthh': 3}, 2, "write '+model.widthh=...')"),
    ({'train_dataloader.batch_size': 0}, 2, 'a whole number from 1'),
    # the config, read by mmengine: an unknown class, argument or value, and
    # parts that do not go together
    ({'model.type': 'ToyModl'}, 2, "did you mean 'ToyModel'?"),
    ({'+model.breadth': 8}, 2, 'known there: data_preprocessor, width'),
    (
        {
            'param_scheduler': [
                dict(type='OneCycleLR', eta_max=1, total_steps=4, pct_start=3)
            ]
        },
        2,
        f'between 0 and 1 pct_start, but got 3{HINT}',
    ),
    ({'val_evaluator': None}, 2, 'or set all of them to None'),
    # files
    ({'load_from': 'no.pth'}, 2, 'no.pth can not be found.'),
    ({'load_from': 'toy_parts.py'}, 2, 'download or save it again.'),
    ({'data_root': 'nowhere'}, 2, 'there is no folder nowhere'),
    # a dataset that fills no batch
    (
        {
            'train_dataloader.batch_size': 9,
            'train_dataloader.drop_last': True,
        },
        2,
        'lower train_dataloader.batch_size',
    ),
]


def test_clear_errors__mistakes_before_the_loop(toy, subtests, capsys):
    for options, status, end in MISTAKES:
        with subtests.test(str(options)):
            capsys.readouterr()
            with pytest.raises(SystemExit) as caught, clear_errors():
                train_toy(toy, options)
            assert caught.value.code == status
            text = capsys.readouterr().err
            print(text)
            said = [x for x in text.splitlines() if x.startswith('error: ')]
            assert len(said) == 1
            assert said[0].endswith(end)
            assert 'Traceback' not in text


def test_clear_errors__checkpoint_without_the_prefix(tmp_path, capsys):
    path = tmp_path / 'other.pth'
    torch.save(dict(state_dict={'head.weight': torch.ones(1)}), path)
    part = BaseModule(
        dict(type='Pretrained', checkpoint=str(path), prefix='backbone')
    )
    with pytest.raises(SystemExit) as caught, clear_errors():
        part.init_weights()
    assert caught.value.code == 2
    assert capsys.readouterr().err.endswith(
        "error: init_cfg.prefix='backbone.': no key of the checkpoint begins "
        'with it; give the prefix that its keys have, or leave it out\n'
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason='for machines without')
def test_clear_errors__cuda_that_is_not_there(capsys):
    with pytest.raises(SystemExit) as caught, clear_errors():
        torch.ones(1).to('cuda')
    assert caught.value.code == 1
    assert capsys.readouterr().err.startswith('error: ')


def fail(error):
    raise error


def test_clear_errors__bugs_keep_their_traceback(toy, subtests):
    def numpy_refuses():
        np.zeros(3).reshape(2)

    def a_copy_of_another_packages_error():
        code = (
            'try:\n    numpy_refuses()\n'
            'except ValueError as error:\n    raise ValueError(str(error))'
        )
        exec(code, dict(numpy_refuses=numpy_refuses, __name__='mmengine.x'))

    def a_user_module_raises():
        train_toy(toy, {'data_root': 'broken'})

    for kind, bug in (
        (ValueError, lambda: fail(ValueError('of a user'))),
        (ValueError, numpy_refuses),
        (ValueError, a_copy_of_another_packages_error),
        (ValueError, a_user_module_raises),
        (KeyError, lambda: fail(KeyError('x'))),
        (TypeError, lambda: fail(TypeError("argument 'y'"))),
        (AssertionError, lambda: fail(AssertionError('x'))),
        (RuntimeError, lambda: fail(RuntimeError('a bug'))),
        (ModuleNotFoundError, lambda: fail(ModuleNotFoundError('x', name=1))),
    ):
        with (
            subtests.test(bug.__name__),
            pytest.raises(kind),
            clear_errors(),
        ):
            bug()


def test_clear_errors__a_traceback_on_request(monkeypatch, capsys):
    monkeypatch.setenv('MMCAE_TRACEBACK', '1')
    with pytest.raises(SystemExit), clear_errors():
        raise ConfigError('no such key')
    text = capsys.readouterr().err
    assert text.startswith('Traceback')
    assert text.endswith('error: no such key\n')


def test_clear_errors__names_the_process(monkeypatch, capsys):
    monkeypatch.setenv('RANK', '1')
    with pytest.raises(SystemExit), clear_errors():
        raise ConfigError('no such key')
    assert capsys.readouterr().err == '[rank 1] error: no such key\n'


def test_clear_errors__config_error_is_one_line_and_status_2(capsys):
    with pytest.raises(SystemExit) as caught, clear_errors():
        raise ConfigError('no such key')
    assert caught.value.code == 2
    assert capsys.readouterr().err == 'error: no such key\n'


def test_clear_errors__missing_file_is_status_2(capsys):
    with pytest.raises(SystemExit) as caught, clear_errors():
        raise FileNotFoundError('no weights at x')
    assert caught.value.code == 2
    assert capsys.readouterr().err == 'error: no weights at x\n'


def test_clear_errors__deliberate_value_error_of_a_constructor(capsys):
    from mmengine.registry import TRANSFORMS

    mask = dict(
        type='mmcae.BlockMaskGenerator',
        input_size=(4, 4),
        num_masking_patches=17,
    )
    with pytest.raises(SystemExit) as caught, clear_errors():
        TRANSFORMS.build(mask)
    assert caught.value.code == 2
    assert '17' in capsys.readouterr().err


def test_clear_errors__missing_operators_say_how_to_compile(capsys):
    with pytest.raises(SystemExit) as caught, clear_errors():
        raise ModuleNotFoundError("No module 'mmcv._ext'", name='mmcv._ext')
    assert caught.value.code == 1
    assert 'MMCV_WITH_OPS=1 pip install' in capsys.readouterr().err
    with pytest.raises(ModuleNotFoundError), clear_errors():
        raise ModuleNotFoundError('No module x', name='x')


@pytest.mark.parametrize('name', ['Unreadable', 'Unsafe'])
def test_clear_errors__refused_checkpoint_is_one_line(capsys, name):
    from mmcae.checkpoint import decoding

    # As our reader raises it: another package's error came before.
    code = (
        "try:\n    json.loads('{')\nexcept ValueError:\n"
        "    raise kind('x.pth is damaged') from None"
    )
    names = {'kind': getattr(decoding, f'{name}CheckpointError')}
    names.update(json=json, __name__='mmcae.checkpoint.decoding')
    with pytest.raises(SystemExit) as caught, clear_errors():
        exec(code, names)
    assert caught.value.code == 2
    assert capsys.readouterr().err == 'error: x.pth is damaged\n'


def test_clear_errors__any_trouble_with_files_is_status_1(capsys):
    with pytest.raises(SystemExit) as caught, clear_errors():
        raise OSError(30, 'Read-only file system', 'work_dirs')
    assert caught.value.code == 1
    assert 'Read-only file system' in capsys.readouterr().err


def test_clear_errors__everything_passes_once_the_loop_runs():
    def lose_a_file():
        errors.loop_started.before_train(None)
        raise FileNotFoundError('lost while training')

    with pytest.raises(FileNotFoundError), clear_errors():
        lose_a_file()


def test_clear_errors__download_that_fails_while_training(capsys):
    def lose_the_network():
        errors.loop_started.before_train(None)
        raise DownloadError('no route to host')

    with pytest.raises(SystemExit), clear_errors():
        lose_the_network()
    assert capsys.readouterr().err == 'error: no route to host\n'


def test_run__leaves_the_process_group_unless_it_fails(monkeypatch):
    left = []
    monkeypatch.setattr(errors, 'leave_process_group', lambda: left.append(1))
    with pytest.raises(RuntimeError):
        run(lambda: fail(RuntimeError('a bug')))
    assert not left
    run(lambda: None)
    assert left
