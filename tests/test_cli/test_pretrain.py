# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""`mmcae pretrain`, from a folder to an encoder."""

import ast
import os
import signal

import numpy as np
import pytest
import torch
from mmengine.logging import MessageHub, MMLogger
from mmengine.visualization import Visualizer
from PIL import Image

from mmcae.cli.planning import length
from mmcae.cli.planning import measure as measure_module
from mmcae.cli.planning.choices import choose
from mmcae.cli.planning.configs import set_variables, write_configs
from mmcae.cli.planning.folder import look_at_folder
from mmcae.cli.planning.length import set_length
from mmcae.cli.planning.machine import GPU, Machine
from mmcae.cli.planning.plan import Request
from mmcae.cli.planning.progress import StageHook
from mmcae.cli.planning.sizes import SIZES
from mmcae.cli.pretrain import name_of
from mmcae.config.overrides import load_config
from mmcae_command import main

GB = 10**9


@pytest.fixture(autouse=True)
def _short_runs(monkeypatch, tmp_path):
    """Two epochs of two steps, and an empty current folder."""
    monkeypatch.setattr(length, '_usual_epochs', lambda *args: 2)
    monkeypatch.setattr(measure_module, 'MOST_STEPS', 1)
    monkeypatch.chdir(tmp_path)
    # mmengine names its singletons by the second.
    for manager in (MessageHub, MMLogger, Visualizer):
        manager._instance_dict.clear()


@pytest.fixture
def photos(tmp_path):
    root = tmp_path / 'My Photos, 2026'
    for index in range(16):
        folder = root / f'class{index % 2}'
        folder.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(index)
        small = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        picture = Image.fromarray(small).resize((64, 48), Image.BICUBIC)
        picture.save(folder / f'{index}.png')
    return root


def run(*arguments):
    for manager in (MessageHub, MMLogger, Visualizer):
        manager._instance_dict.clear()
    try:
        return main(['pretrain', *map(str, arguments)])
    except SystemExit as end:
        return end.code


def weights(path):
    return torch.load(path, weights_only=False)['state_dict']


def test_pretrain__from_a_folder_to_an_encoder(photos, tmp_path, capsys):
    assert run(photos, '--out', 'run') == 0
    printed = capsys.readouterr().out
    assert 'images     16 (PNG), short side 48 px' in printed
    assert 'weak       16 images are few' in printed
    assert 'CAE: step 4 of 4, epoch 2 of 2, done' in printed
    assert 'Config:' not in printed
    for name in ('tokenizer/epoch_2.pth', 'cae/epoch_2.pth'):
        assert (tmp_path / 'run' / name).is_file()
    cfg = load_config('run/cae.py')
    assert cfg.train_dataloader.dataset.data_root == str(photos)
    assert load_config('run/finetune.py').model.backbone.img_size == 48

    # The next command that it prints works.
    (line,) = (x for x in printed.splitlines() if 'mmcae extract' in x)
    import shlex

    words = shlex.split(line)[1:]
    assert main([*words, '--num-workers', '0']) in (0, None)
    assert (tmp_path / 'run/images.npz').is_file()

    # The same command again has nothing to do.
    capsys.readouterr()
    before = (tmp_path / 'run/cae/epoch_2.pth').stat().st_mtime_ns
    assert run(photos, '--out', 'run') == 0
    printed = capsys.readouterr().out
    assert 'CAE: done (epoch_2.pth)' in printed
    assert (tmp_path / 'run/cae/epoch_2.pth').stat().st_mtime_ns == before

    # Another option, or other images, end in one sentence.
    for arguments, words in (
        (['--size', 'small'], 'has a run with another --size (None)'),
        (['--time', '1h'], 'has a run with another --time (None)'),
    ):
        assert run(photos, '--out', 'run', *arguments) == 2
        assert words in one_error(capsys)
    (photos / 'class0' / '0.png').unlink()
    assert run(photos, '--out', 'run') == 2
    assert 'had 16 images' in one_error(capsys)


def one_error(capsys):
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith('error: ')
    return lines[0]


@pytest.mark.slow
def test_pretrain__overwrite_starts_over(photos, tmp_path, capsys):
    assert run(photos, '--out', 'run') == 0
    before = (tmp_path / 'run/cae/epoch_2.pth').stat().st_mtime_ns
    (photos / 'class0' / '0.png').unlink()
    assert run(photos, '--out', 'run', '--overwrite') == 0
    assert (tmp_path / 'run/cae/epoch_2.pth').stat().st_mtime_ns > before
    assert 'images     15 (PNG)' in capsys.readouterr().out


@pytest.mark.slow
def test_pretrain__continues_a_stopped_run_exactly(
    photos, tmp_path, capsys, monkeypatch
):
    assert run(photos, '--out', 'whole') == 0
    iterations = []

    def stop(hook, runner, **kwargs):
        iterations.append(runner.iter)
        if (
            hook.title == 'CAE' and len(iterations) == 7
        ):  # the third of CAE's 4 steps
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(StageHook, 'after_train_iter', stop)
        assert run(photos, '--out', 'run') == 130
    assert 'Stopped. The same command continues' in capsys.readouterr().out
    assert not (tmp_path / 'run/cae/epoch_2.pth').exists()
    assert run(photos, '--out', 'run') == 0
    assert 'Continuing run' in capsys.readouterr().out
    ours = weights('run/cae/epoch_2.pth')
    for name, tensor in weights('whole/cae/epoch_2.pth').items():
        assert torch.equal(tensor, ours[name]), name


def test_pretrain__plans_write_configs_and_train_nothing(
    photos, tmp_path, capsys
):
    assert run(photos, '--dry-run') == 0
    assert 'writes     work_dirs/pretrain_My_Photos__2026' in (
        capsys.readouterr().out
    )
    assert not (tmp_path / 'work_dirs').exists()
    assert run(photos, '--config-out', 'mine', '--out', 'run') == 0
    assert (
        'OMP_NUM_THREADS=1 mmcae train mine/cae.py' in capsys.readouterr().out
    )
    assert not (tmp_path / 'run').exists()
    cfg = load_config('mine/tokenizer.py')
    assert cfg.work_dir == str(tmp_path / 'run/tokenizer')
    assert cfg.train_cfg.max_epochs == 2
    checkpoint = load_config('mine/cae.py').tokenizer
    assert checkpoint == str(tmp_path / 'run/tokenizer/epoch_2.pth')
    # A changed config is not written over.
    assert run(photos, '--config-out', 'mine') == 2
    assert 'mine/tokenizer.py is there already' in one_error(capsys)


@pytest.mark.slow
def test_pretrain__a_list_of_twelve_images(photos, capsys):
    paths = sorted(photos.rglob('*.png'))[:12]
    names = photos / 'twelve.txt'
    names.write_text('\n'.join(str(p.relative_to(photos)) for p in paths))
    assert run(names, '--out', 'run') == 0
    assert 'images     12 (PNG)' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('arguments', 'status', 'words'),
    [
        (['nowhere'], 2, 'there is no folder nowhere'),
        (['.'], 2, 'no image in .'),
        (['.', '--time', 'soon'], 2, "'soon' is no duration"),
        (['.', '--size', 'huge'], 2, "invalid choice: 'huge'"),
    ],
)
def test_pretrain__mistake_is_one_sentence(arguments, status, words, capsys):
    assert run(*arguments) == status
    assert words in one_error(capsys)


def test_pretrain__few_images_and_short_times_are_refused(photos, capsys):
    assert run(photos, '--time', '0.01s') == 2
    assert 'two epochs of the tokenizer take' in one_error(capsys)
    for path in sorted(photos.rglob('*.png'))[3:]:
        path.unlink()
    assert run(photos) == 2
    assert '3 images in' in one_error(capsys)


def test_pretrain__does_not_touch_a_run_that_is_not_its_own(photos, capsys):
    folder = photos.parent / 'run' / 'cae'
    folder.mkdir(parents=True)
    (folder / 'epoch_3.pth').write_bytes(b'precious')
    assert run(photos, '--out', 'run') == 2
    assert 'has checkpoints, and run has no plan.json' in one_error(capsys)
    assert (folder / 'epoch_3.pth').read_bytes() == b'precious'


def test_configs__of_every_size_and_target_can_be_built(photos, subtests):
    from mmengine.registry import DefaultScope
    from mmpretrain.registry import MODELS

    folder = look_at_folder(photos)
    server = Machine(64, 512 * GB, (GPU('x', 80 * GB, 79 * GB),), 1000 * GB)
    for size in SIZES:
        for target in ('dvae', 'dalle'):
            request = Request(size, None, target)
            plan = set_length(choose(folder, server, request), request)
            texts = write_configs(plan, folder, photos)
            with subtests.test(size=size, target=target):
                assert ('tokenizer.py' in texts) == (target == 'dvae')
                for name, text in texts.items():
                    (photos / name).write_text(text)
                cfg = load_config(photos / 'cae.py')
                cfg.model.target_generator.pop('init_cfg')
                with (
                    DefaultScope.overwrite_default_scope('mmpretrain'),
                    torch.device('meta'),
                ):
                    model = MODELS.build(cfg.model)
                width = SIZES[size].width
                assert model.backbone.embed_dims == width
                second = cfg.train_pipeline[2].second_size
                assert second == 8 * plan.grid
                assert cfg.train_cfg.max_epochs == plan.cae.epochs
                scheduler = cfg.param_scheduler[-1]
                assert scheduler.end == plan.cae.epochs
                if target == 'dvae':
                    tokenizer = load_config(photos / 'tokenizer.py').model
                    generator = cfg.model.target_generator
                    for key in ('vocab_size', 'downsample'):
                        assert tokenizer[key] == generator[key]


def test_set_variables__keeps_comments_and_knows_every_name():
    text = '"""A."""\na = 1  # one\nb = (\n    2,\n    3,\n)\nc = a\n'
    new = set_variables(text, {'a': 5, 'b': dict(x=1)})
    assert new == '"""A."""\na = 5  # one\nb = dict(\n    x=1,\n)\nc = a\n'
    assert ast.parse(new)
    with pytest.raises(KeyError, match='assigns no d'):
        set_variables(text, {'d': 1})


def test_name__of_a_folder_suits_a_file_name(tmp_path):
    (tmp_path / 'a b,c').mkdir()
    assert name_of(tmp_path / 'a b,c') == 'a_b_c'
    assert name_of(tmp_path / 'list.txt') == 'list'
