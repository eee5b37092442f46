# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""What may change on resume: refused, or said in one line."""

import copy

import pytest
from helpers import token_runs
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer
from PIL import Image

from mmcae.checkpoint.plain_values import ResumeError
from mmcae.checkpoint.reading import read_checkpoint
from mmcae.checkpoint.resume_changes import (
    APPLIED,
    KEPT,
    REFUSED,
    SILENT,
    answer_for,
    check_changes,
    differences,
)
from mmcae.launch.runner import build_runner

MASK = 'train_dataloader.dataset.pipeline.3.num_masking_patches'
CHECKPOINT_HOOK = dict(type='mmcae.CheckpointHook', interval=1)


def photos_in(folder, count):
    folder.mkdir()
    for number in range(count):
        Image.new('RGB', (40, 40), (number * 20, 9, 9)).save(
            folder / f'{number}.png'
        )
    return folder


def runner_of(cfg):
    for manager in (DefaultScope, MessageHub, MMLogger, Visualizer):
        manager._instance_dict.clear()
    return build_runner(cfg)


@pytest.fixture(scope='module')
def saved(tmp_path_factory):
    """The config of a run of one epoch, and its checkpoint."""
    folder = tmp_path_factory.mktemp('saved')
    photos_in(folder / 'fewer', 4)
    cfg = token_runs.config(
        photos_in(folder / 'photos', 8), folder / 'work', epochs=1
    )
    cfg.default_hooks = dict(checkpoint=CHECKPOINT_HOOK)
    cfg.param_scheduler = [dict(type='LinearLR', end=3)]
    runner_of(copy.deepcopy(cfg)).train()
    return cfg, read_checkpoint(folder / 'work/epoch_1.pth'), folder


def said(saved, capfd, **options):
    cfg, checkpoint, _ = saved
    cfg = copy.deepcopy(cfg)
    cfg.merge_from_dict(
        {key.replace('__', '.'): value for key, value in options.items()}
    )
    runner = runner_of(cfg)
    capfd.readouterr()
    check_changes(runner, checkpoint)
    captured = capfd.readouterr()
    lines = (captured.out + captured.err).splitlines()
    return [line for line in lines if 'differs from the saved' in line]


def test_check_changes__says_nothing_of_the_same_run(saved, capfd):
    assert said(saved, capfd) == []
    quiet = dict(train_dataloader__num_workers=2, train_cfg__max_epochs=1)
    assert said(saved, capfd, **quiet) == []


def test_check_changes__says_what_is_changed_in_one_line(saved, capfd):
    folder = saved[2]
    for options, words in (
        ({'train_dataloader.batch_size': 2}, 'batch_size 4 -> 2'),
        ({MASK: 6}, 'num_masking_patches 8 -> 6'),
        ({'train_cfg.max_epochs': 9}, 'max_epochs 1 -> 9'),
        (
            {'train_dataloader.dataset.data_root': str(folder / 'fewer')},
            'training images 8 -> 4',
        ),
        ({'randomness.seed': 1}, "the checkpoint's is used: randomness.seed"),
        ({'param_scheduler.0.end': 2}, 'param_scheduler.0.end 3 -> 2'),
    ):
        lines = said(saved, capfd, **options)
        assert len(lines) == 1, options
        assert words in lines[0]


def test_check_changes__says_another_number_of_processes(saved, capfd):
    cfg, checkpoint, folder = saved
    position = dict(checkpoint['exact_resume'])
    position['random_states'] = position['random_states'] * 2
    more = {**checkpoint, 'exact_resume': position}
    lines = said((cfg, more, folder), capfd)
    assert len(lines) == 1
    assert 'processes 2 -> 1' in lines[0]


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        ({'optim_wrapper.optimizer.lr': 0.5}, 'optimizer.lr=0.01.*has 0.5'),
        ({'optim_wrapper.optimizer.type': 'SGD'}, 'AdamW.*SGD'),
        (
            {
                'train_cfg': dict(
                    _delete_=True, type='IterBasedTrainLoop', max_iters=9
                )
            },
            'train_cfg',
        ),
    ],
    ids=['rate', 'optimizer', 'loop'],
)
def test_check_changes__refuses(saved, options, words):
    cfg, checkpoint, _ = saved
    cfg = copy.deepcopy(cfg)
    cfg.merge_from_dict(options)
    with pytest.raises(ResumeError, match=words):
        check_changes(runner_of(cfg), checkpoint)


def test_answer_for__every_kind():
    for path, answer in (
        ('optim_wrapper.optimizer.lr', REFUSED),
        ('optim_wrapper.optimizer.fused', SILENT),
        ('optim_wrapper.clip_grad.max_norm', APPLIED),
        ('randomness.seed', KEPT),
        ('work_dir', SILENT),
        ('model.head.loss.lambd', APPLIED),
        ('custom_hooks.0.type', SILENT),
    ):
        assert answer_for(path) == answer, path


def test_check_changes__our_loop_continues_one_of_mmengine(saved, capfd):
    loop = dict(_delete_=True, type='mmcae.EpochBasedTrainLoop', max_epochs=1)
    assert said(saved, capfd, train_cfg=loop) == []


def test_differences__of_dicts_and_lists():
    old = dict(a=1, b=[dict(c=1), dict(c=2)], d=[1, 2])
    new = dict(a=1, b=[dict(c=1), dict(c=3)], d=[1], e=5)
    assert list(differences(old, new, 'x')) == [
        ('x.b.1.c', 2, 3),
        ('x.d', [1, 2], [1]),
        ('x.e', None, 5),
    ]


def test_differences__tuples_and_lists_are_equal():
    old, new = dict(betas=(0.9, 0.95), x=(1,)), dict(betas=[0.9, 0.95], x=[2])
    assert list(differences(old, new, 'k')) == [('k.x', [1], [2])]
