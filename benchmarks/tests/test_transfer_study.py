# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Parts of the study of segmentation and detection."""

import json
import sys
from pathlib import Path

import pytest
from mmengine.config import DictAction

from mmcae.config.search_path import resource_root
from mmcae.utils import load_config

sys.path.insert(0, str(Path(__file__).parents[1]))

import transfer

SEGMENTATION = """
Iter(val) [128/128]    aAcc: 84.63  mIoU: 37.48  mAcc: 59.99  time: 0.045
Iter(train) [   8/800]  loss: 2.2600  decode.acc_seg: 41.7467
Iter(val) [128/128]    aAcc: 92.89  mIoU: 52.84  mAcc: 68.01  time: 0.044
"""
DETECTION = """
Epoch(val) [48][128/128]    coco/bbox_mAP: 0.1010  coco/bbox_mAP_50: 0.3
    coco/segm_mAP: 0.0500  coco/segm_mAP_50: 0.2000
Epoch(val) [96][128/128]    coco/bbox_mAP: 0.2340  coco/bbox_mAP_50: 0.4
    coco/segm_mAP: 0.1340  coco/segm_mAP_50: 0.3000
"""


@pytest.mark.parametrize(
    ('task', 'log', 'expected'),
    [
        ('segmentation', SEGMENTATION, {'mIoU': 52.84, 'mAcc': 68.01}),
        ('detection', DETECTION, {'box AP': 23.4, 'mask AP': 13.4}),
    ],
)
def test_read_metrics__returns_the_last_evaluation_in_percent(
    task, log, expected
):
    found = transfer.read_metrics(transfer.TASKS[task], log)
    assert found == pytest.approx(expected)


def test_read_metrics__names_what_is_missing():
    task = transfer.TASKS['segmentation']
    with pytest.raises(ValueError, match='no mIoU'):
        transfer.read_metrics(task, 'Iter(train) [8/800]  loss: 2.26')


def configured(task, options):
    """The config of a task, with options as the command line reads them."""
    pairs = [option.split('=', 1) for option in options]
    values = {k: DictAction._parse_iterable(v) for k, v in pairs}
    return load_config(task.config, values)


@pytest.mark.parametrize('name', transfer.TASKS)
def test_options__arms_differ_in_the_encoder_alone(name):
    task = transfer.TASKS[name]
    options = (*task.schedule(task.length), 'data_root=data/')
    start = transfer.start_options
    given = configured(task, (*start(Path('cae.pth'), True), *options))
    drawn = configured(task, (*start(None, True), *options))
    assert given.model.backbone.init_cfg.checkpoint == 'cae.pth'
    assert drawn.model.backbone.init_cfg is None
    # Layer-wise decay protects pretrained weights only.
    rates = [
        config.optim_wrapper.paramwise_cfg.pop('layer_decay_rate')
        for config in (given, drawn)
    ]
    assert rates == [0.9, 1.0]
    given.model.backbone.pop('init_cfg')
    drawn.model.backbone.pop('init_cfg')
    given.pop('checkpoint')
    drawn.pop('checkpoint')
    assert given.to_dict() == drawn.to_dict()


@pytest.mark.parametrize('name', transfer.TASKS)
def test_schedule__ends_with_the_training(name):
    task = transfer.TASKS[name]
    config = configured(task, task.schedule(2 * task.length))
    length = 2 * task.length
    assert (
        length == config.train_cfg.get('max_iters')
        or config.train_cfg.max_epochs
    )
    assert config.train_cfg.val_interval == length
    assert config.default_hooks.checkpoint.interval == length
    last = config.param_scheduler[1]
    assert last.end - length in (0, 1)
    assert max(last.get('milestones', [0])) < length


def test_configs__both_encoders_have_the_shape_that_the_tasks_need():
    root = resource_root()
    pretrained = [
        load_config(root / path).model.backbone
        for path in (transfer.SCENES.cae, transfer.SCENES.peer)
    ]
    for task in transfer.TASKS.values():
        backbone = configured(task, task.schedule(12)).model.backbone
        for encoder in pretrained:
            assert backbone.arch == encoder.arch
            assert backbone.patch_size == encoder.get('patch_size', 8)


def test_transfer__arms_share_scenes_and_have_their_own_encoder(
    tmp_path, monkeypatch, capsys
):
    calls = []

    def run_tool(folder, *command):
        calls.append([str(word) for word in command])
        folder.mkdir(parents=True, exist_ok=True)
        (folder / 'last_checkpoint').write_text(f'{folder}/last.pth')
        return SEGMENTATION

    monkeypatch.setattr(transfer, 'run_tool', run_tool)
    monkeypatch.setattr('small_scale.run_tool', run_tool)
    argv = ['transfer.py', '--work-dir', str(tmp_path), '--seeds', '3', '4']
    argv += ['--arms', 'random', 'mmcae', '--labels', '8', '--times', '0.5']
    monkeypatch.setattr(sys, 'argv', argv)
    transfer.main()
    table = (tmp_path / 'segmentation_x0.5/table.md').read_text()
    assert table in capsys.readouterr().out
    assert table.splitlines()[-1] == (
        '| mmcae | 52.8 [52.8-52.8] | 68.0 [68.0-68.0] |'
    )
    results = json.loads(
        (tmp_path / 'segmentation_x0.5/results.json').read_text()
    )
    assert len(results['arms']['random']) == 2
    trainings = [
        c for c in calls if transfer.TASKS['segmentation'].config in c
    ]
    assert len(trainings) == 4
    for training, (seed, arm) in zip(
        trainings,
        [(s, a) for s in (3, 4) for a in ('random', 'mmcae')],
        strict=True,
    ):
        words = ' '.join(training)
        assert (
            f'data_root={tmp_path}/segmentation_x0.5/data_seed{seed}/' in words
        )
        assert f'randomness.seed={seed}' in training
        assert 'train_cfg.max_iters=200' in training
        path = f'checkpoint={tmp_path}/scenes/mmcae_seed{seed}/pretrain/'
        assert (path in words) == (arm == 'mmcae')
    # Labeled and unlabeled scenes come from different seeds.
    seeds = {c[-1] for c in calls if '--val' in c}
    assert seeds == {'3', '4', '100'}
