# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""What a hostile resumed file must not do in ``tools/train.py``."""

import sys

import pytest
import torch
from helpers import toy_project
from helpers.scripts import load_script

from mmcae.config.search_path import resource_root
from mmcae.models import DVAE

write_digits = load_script('tools/dataset_converters/digits.py').write_digits
TRAIN = resource_root() / 'tools' / 'train.py'
DIGITS = 'cae_tiny-p8_1xb32-coslr-80e_digits-32px'


@pytest.fixture(scope='module')
def toy(tmp_path_factory):
    """A run that saves its best checkpoint and has a fused optimizer."""
    folder = tmp_path_factory.mktemp('toy')
    config = toy_project.write(folder)
    text = config.read_text()
    for old, new in (
        ("type='SGD', lr=0.01", "type='AdamW', lr=0.01, fused=True"),
        ('interval=1)', "interval=1, save_best='error', rule='less')"),
    ):
        assert old in text
        text = text.replace(old, new)
    config.write_text(text)
    assert train(folder)[0] == 0
    return folder


def train(folder, *arguments):
    result = toy_project.execute(
        [sys.executable, TRAIN, 'toy.py', *arguments], folder
    )
    return result.returncode, result.stdout + result.stderr


def changed(toy, change):
    checkpoint = torch.load(
        toy / 'work_dirs/toy/epoch_1.pth', weights_only=False
    )
    change(checkpoint)
    path = toy / 'work_dirs/toy/changed.pth'
    torch.save(checkpoint, path)
    return path


def one_error(log):
    assert 'Traceback' not in log
    lines = [line for line in log.splitlines() if line.startswith('error: ')]
    assert len(lines) == 1
    return lines[0]


def test_train__resume_removes_no_folder(toy):
    victim = toy / 'victim'
    victim.mkdir()
    (victim / 'file').write_text('precious')

    def hostile(checkpoint):
        info = checkpoint['message_hub']['runtime_info']
        info.update(best_ckpt=str(victim), best_score=1e9)

    status, log = train(toy, '--resume', changed(toy, hostile))
    assert status == 0
    assert (victim / 'file').read_text() == 'precious'
    assert f'best_ckpt={victim}. A run only removes' in log
    # The hook removes the previous best checkpoint when it saves a new one.
    assert 'The best checkpoint with' in log


def test_train__resume_runs_no_code(toy):
    sentinel = toy / 'executed'

    def hostile(checkpoint):
        code = f'open({str(sentinel)!r}, "w").close()'
        checkpoint['meta']['config'] = code

    assert train(toy, '--resume', changed(toy, hostile))[0] == 0
    assert not sentinel.exists()


def test_train__resume_into_another_width_is_one_line(toy):
    """Without the check: a segmentation fault, or wrong numbers."""
    for width in (400_000, 2):
        status, log = train(
            toy,
            '--resume',
            'work_dirs/toy/epoch_1.pth',
            '--cfg-options',
            f'model.width={width}',
        )
        assert status == 2
        error = one_error(log)
        assert 'Cannot resume from work_dirs/toy/epoch_1.pth' in error
        assert f'(4,) instead of ({width},)' in error
        assert 'load_from=FILE' in error


def test_train__resume_with_short_moments_is_one_line(toy):
    def hostile(checkpoint):
        moments = checkpoint['optimizer']['state'][0]
        moments['exp_avg'] = moments['exp_avg'].flatten()[:-1].clone()

    status, log = train(toy, '--resume', changed(toy, hostile))
    assert status == 2
    assert 'exp_avg of parameter 0' in one_error(log)


@pytest.fixture(scope='module')
def digits(tmp_path_factory):
    """A run of the shipped recipe: two saved epochs on 64 digits."""
    folder = tmp_path_factory.mktemp('digits')
    write_digits(folder / 'all')
    (folder / 'train').mkdir()
    for path in sorted((folder / 'all/train').iterdir())[:64]:
        path.rename(folder / 'train' / path.name)
    torch.manual_seed(0)
    tokenizer = DVAE(vocab_size=64, downsample=8, overlap=False)
    torch.save(tokenizer.state_dict(), folder / 'tokenizer.pth')
    status, log = train_digits(folder)
    assert status == 0, log
    return folder


def train_digits(folder, *options, resume=None):
    command = [sys.executable, TRAIN, DIGITS, '--work-dir', 'work']
    command += ['--resume', resume] if resume else []
    command += [
        '--cfg-options',
        'data_root=train',
        'model.target_generator.init_cfg.checkpoint=tokenizer.pth',
        'train_cfg.max_epochs=2',
        'default_hooks.checkpoint.interval=1',
        'default_hooks.checkpoint.save_optimizer=True',
        *options,
    ]
    result = toy_project.execute(command, folder)
    return result.returncode, result.stdout + result.stderr


def test_train__digits_go_on_exactly(digits):
    path = digits / 'work/epoch_2.pth'
    whole = torch.load(path, weights_only=False)
    path.unlink()
    status, log = train_digits(digits, resume='work/epoch_1.pth')
    assert status == 0, log
    assert 'tensors matched' in log
    again = torch.load(path, weights_only=False)
    assert whole['state_dict'].keys() == again['state_dict'].keys()
    for key, value in whole['state_dict'].items():
        assert torch.equal(again['state_dict'][key], value)


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (
            [
                'model.backbone.arch.embed_dims=32',
                'model.backbone.arch.feedforward_channels=128',
                'model.neck.embed_dims=32',
            ],
            'of another shape (backbone.cls_token: (1, 1, 64) instead of '
            '(1, 1, 32)',
        ),
        (
            ['model.backbone.arch.num_layers=3'],
            '30 parameters, and that of this config 26',
        ),
    ],
    ids=['narrower', 'fewer layers'],
)
def test_train__digits_into_another_size_is_one_line(digits, options, words):
    status, log = train_digits(digits, *options, resume='work/epoch_1.pth')
    assert status == 2
    assert words in one_error(log)
