# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""`mmcae finetune`, from a checkpoint and labeled images to a classifier."""

import json
import os
import shlex
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from mmengine.logging import MessageHub, MMLogger
from mmengine.visualization import Visualizer
from PIL import Image

from mmcae.checkpoint.encoder_settings import USUAL
from mmcae.cli.planning import finetuning
from mmcae.cli.planning import measure as measure_module
from mmcae.cli.planning.finetuning import (
    check_kind,
    choose,
    find_labeled,
    set_length,
    size_of,
)
from mmcae.cli.planning.finetuning_text import confusion_line
from mmcae.cli.planning.folder import Folder
from mmcae.cli.planning.machine import Machine
from mmcae.cli.planning.plan import PlanError
from mmcae.cli.planning.progress import StageHook
from mmcae.config.overrides import load_config
from mmcae_command import main

ENCODER = 'mmcae://cae_tiny-p8_1xb32-coslr-80e_digits-32px'
MACHINE = Machine(2, 8 * 10**9)


@pytest.fixture(autouse=True)
def _short_runs(monkeypatch, tmp_path):
    """Two epochs, and an empty current folder."""
    monkeypatch.setattr(finetuning, '_FEWEST_EPOCHS', 2)
    monkeypatch.setattr(finetuning, '_MOST_EPOCHS', 2)
    monkeypatch.setattr(measure_module, 'MOST_STEPS', 1)
    monkeypatch.chdir(tmp_path)


def write(path, gray):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((40, 48), gray, np.uint8)).save(path)


@pytest.fixture
def photos(tmp_path):
    """Two classes of ten images, dark and bright."""
    root = tmp_path / 'My Photos, 2026'
    for number in range(20):
        name = ('dark', 'very bright')[number % 2]
        write(root / name / f'{number}.png', 20 + 200 * (number % 2) + number)
    return root


def run(*arguments):
    for manager in (MessageHub, MMLogger, Visualizer):
        manager._instance_dict.clear()
    try:
        return main(['finetune', *map(str, arguments)])
    except SystemExit as end:
        return end.code


def one_error(capsys):
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_finetune__from_a_folder_to_a_classifier(photos, tmp_path, capsys):
    assert run(ENCODER, photos, '--out', 'run') == 0
    printed = capsys.readouterr().out
    assert '16 to train, 4 held out (drawn at random from each' in printed
    assert '4 held-out images are few' in printed
    assert 'classifier: step 8 of 8, epoch 2 of 2, done' in printed
    assert 'of 4 held-out images (the largest class is 50.0 %)' in printed
    result = json.loads((tmp_path / 'run/result.json').read_text())
    assert np.sum(result['matrix']) == 4
    assert result['classes'] == ['dark', 'very bright']

    # The commands that it prints work.
    lines = printed.splitlines()
    (code,) = (line for line in lines if 'Inferencer' in line)
    words = shlex.split(code)[2].replace(
        'IMAGE', str(photos / 'dark' / '0.png')
    )
    exec(words, {})
    said = capsys.readouterr().out.strip().splitlines()[-1]
    assert said.endswith(('dark', 'very bright'))
    (export,) = (line for line in lines if 'mmcae export' in line)
    arguments = shlex.split(export)[1:]
    arguments[arguments.index('onnx')] = 'safetensors'
    arguments[-1] += '.safetensors'
    assert main(arguments) in (0, None)

    # The same command again only evaluates; another option is refused.
    before = (tmp_path / 'run/finetune/epoch_2.pth').stat().st_mtime_ns
    assert run(ENCODER, photos, '--out', 'run') == 0
    assert 'classifier: done (epoch_2.pth)' in capsys.readouterr().out
    assert (tmp_path / 'run/finetune/epoch_2.pth').stat().st_mtime_ns == before
    assert run(ENCODER, photos, '--out', 'run', '--no-flip') == 2
    assert 'has a run with another --no-flip' in one_error(capsys)
    (photos / 'dark' / '0.png').unlink()
    assert run(ENCODER, photos, '--out', 'run') == 2
    assert '1 images of the run in run are not there' in one_error(capsys)


@pytest.mark.slow
def test_finetune__continues_a_stopped_run_exactly(
    photos, tmp_path, capsys, monkeypatch
):
    assert run(ENCODER, photos, '--out', 'whole') == 0
    steps = []

    def stop(hook, runner, **kwargs):
        steps.append(runner.iter)
        if len(steps) == 6:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(StageHook, 'after_train_iter', stop)
        assert run(ENCODER, photos, '--out', 'run') == 130
    assert 'Stopped. The same command continues' in capsys.readouterr().out
    assert run(ENCODER, photos, '--out', 'run') == 0
    assert 'Continuing run' in capsys.readouterr().out
    ours, whole = (
        torch.load(f'{name}/finetune/epoch_2.pth', weights_only=False)
        for name in ('run', 'whole')
    )
    for name, tensor in whole['state_dict'].items():
        assert torch.equal(tensor, ours['state_dict'][name]), name


def test_finetune__plans_write_a_config_and_train_nothing(
    photos, tmp_path, capsys
):
    assert run(ENCODER, photos, '--dry-run') == 0
    printed = capsys.readouterr().out
    assert 'writes     work_dirs/finetune_My_Photos__2026' in printed
    assert not (tmp_path / 'work_dirs').exists()
    assert run(ENCODER, photos, '--config-out', 'mine', '--no-flip') == 0
    assert 'mmcae train mine/finetune.py' in capsys.readouterr().out
    cfg = load_config('mine/finetune.py')
    assert cfg.model.backbone.arch.num_heads == 2
    assert cfg.data_preprocessor.mean == pytest.approx([76.5] * 3)
    assert cfg.train_pipeline[1].prob == 0
    assert cfg.train_dataloader.dataset.metainfo.classes == (
        'dark',
        'very bright',
    )
    assert len((tmp_path / 'mine/train.txt').read_text().splitlines()) == 16
    assert run(ENCODER, photos, '--config-out', 'mine') == 2
    assert 'mine/finetune.py is there already' in one_error(capsys)


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        ([ENCODER, 'nowhere'], 'there is no folder nowhere'),
        (['nowhere.pth', '.'], 'nowhere.pth'),
        ([ENCODER, '.', '--time', 'soon'], "'soon' is no duration"),
        ([ENCODER, '.'], 'no image in .: '),
    ],
)
def test_finetune__a_mistake_is_one_sentence(arguments, words, capsys):
    assert run(*arguments) == 2
    assert words in one_error(capsys)


def test_labeled__train_and_val_are_given(tmp_path):
    for part in ('train', 'test'):
        for name in ('a', 'b'):
            write(tmp_path / part / name / 'deep' / '1.png', 9)
    found = find_labeled(tmp_path)
    assert found.train == (
        ('train/a/deep/1.png', 0),
        ('train/b/deep/1.png', 1),
    )
    assert found.val == (('test/a/deep/1.png', 0), ('test/b/deep/1.png', 1))
    assert not found.was_split
    write(tmp_path / 'test' / 'c' / '1.png', 9)
    with pytest.raises(PlanError, match='only one has c'):
        find_labeled(tmp_path)


def test_labeled__unreadable_images_and_single_ones(photos):
    (photos / 'dark' / '0.png').write_bytes(b'no image')
    found = find_labeled(photos)
    assert found.unreadable == ('dark/0.png',)
    assert len(found.train) + len(found.val) == 19
    write(photos / 'lonely' / '1.png', 9)
    with pytest.raises(PlanError, match="the class 'lonely' has one image"):
        find_labeled(photos)


def test_plan__names_what_is_weak(photos):
    images, folder = find_labeled(photos), Folder('x', 20, duplicates=3)
    encoder = replace(USUAL['tiny'], is_recorded=False, image_size=400)
    plan = choose(encoder, images, folder, MACHINE)
    notes = ' '.join(plan.notes)
    for words in (
        "class 'dark' has 8 training images",
        '4 held-out images are few: one of them is 25.0 points',
        '3 files are copies',
        'does not say its normalization',
        'are enlarged',
    ):
        assert words in notes
    assert plan.stage.batch_size == 4
    assert plan.stage.lr == pytest.approx(2e-3 * 4 / 64)


def test_plan__fits_into_the_time(photos, monkeypatch):
    monkeypatch.setattr(finetuning, '_MOST_EPOCHS', 300)
    plan = choose(
        USUAL['tiny'], find_labeled(photos), Folder('x', 20), MACHINE
    )
    plan = replace(plan, stage=replace(plan.stage, seconds=0.5))
    timed = set_length(plan, 100.0)
    assert timed.stage.epochs == 45  # of 4 batches, in 90 s
    assert set_length(plan, None).stage.epochs == 250  # 1,000 steps
    with pytest.raises(PlanError, match='two epochs take 4 s'):
        set_length(plan, 4.0)


def test_size__is_that_of_the_encoder():
    assert size_of(USUAL['tiny']) == 'tiny'
    assert size_of(USUAL['small']) == 'small'
    large = replace(USUAL['small'], width=1024, num_layers=24)
    assert size_of(large) == 'large'
    assert size_of(replace(USUAL['tiny'], width=64)) == 'tiny'


def test_confusions__are_the_most_frequent():
    matrix = [[5, 3, 0], [1, 9, 0], [0, 4, 6]]
    assert confusion_line(matrix, 'abc') == (
        'c taken for b (4 of 10), a taken for b (3 of 8), '
        'b taken for a (1 of 10)'
    )
    assert confusion_line([[2, 0], [0, 1]], 'ab') == 'none'


@pytest.mark.parametrize(
    ('encoder', 'folder', 'words'),
    [
        (dict(channels=4), dict(), '8-bit gray or color, and .* 4 channels'),
        (dict(), dict(channels=2, depth='uint8'), '2 channels of uint8, and'),
        (dict(value_range=((0.0, 9.0),)), dict(), '3 channels of more than 8'),
    ],
)
def test_check_kind__refuses_images_of_another_kind(encoder, folder, words):
    with pytest.raises(PlanError, match=f'{words}.*mmcae pretrain --start'):
        check_kind(
            replace(USUAL['tiny'], **encoder), Folder('x', 20, **folder)
        )


def test_finetune__images_of_another_kind_are_one_error(tmp_path, capsys):
    for i in range(6):
        path = tmp_path / 'two channels' / f'class{i % 2}' / f'{i}.npy'
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.full((2, 40, 40), i, np.uint16))
    assert run(ENCODER, tmp_path / 'two channels', '--out', 'run') == 2
    message = one_error(capsys)
    assert 'have 2 channels of uint16, and the encoder' in message
    assert 'pretrained on 8-bit gray or color' in message
