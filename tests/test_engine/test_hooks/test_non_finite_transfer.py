# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Segmentation and detection skip a bad batch, name it and repeat it."""

import runpy

import pytest
import torch
from helpers.bad_batches import Poison, fresh, train
from mmengine.registry import MODELS

import mmcae  # noqa: F401
from mmcae.config.search_path import resource_root
from mmcae.engine.replay import replay
from mmcae.launch.runner import build_runner
from mmcae.utils import load_config

CONVERTERS = resource_root() / 'tools/dataset_converters'
CONFIGS = {
    'ade': 'upernet_tiny-p8_cae-pre_1xb8-400i_tiny-ade-96px',
    'coco': 'mask-rcnn_tiny-p8_cae-pre_1xb8-12e_tiny-coco-96px',
}


def config(kind, folder):
    """Configure a few iterations on four generated images."""
    writer = runpy.run_path(str(CONVERTERS / f'tiny_{kind}.py'))
    writer[f'write_tiny_{kind}'](folder / 'data', train=4, val=2)
    cfg = load_config(CONFIGS[kind])
    encoder = MODELS.build(
        load_config('cae_tiny-p8_1xb32-coslr-80e_digits-32px').model.backbone
    )
    weights = {f'backbone.{k}': v for k, v in encoder.state_dict().items()}
    torch.save({'state_dict': weights}, folder / 'encoder.pth')
    loader = cfg.train_dataloader
    loader.update(batch_size=2, num_workers=0, persistent_workers=False)
    loader.dataset.data_root = str(folder / 'data')
    cfg.model.backbone.init_cfg.checkpoint = str(folder / 'encoder.pth')
    for phase in ('val', 'test'):
        for part in ('dataloader', 'evaluator', 'cfg'):
            cfg.pop(f'{phase}_{part}', None)
    if kind == 'ade':
        cfg.train_cfg = dict(type='mmcae.IterBasedTrainLoop', max_iters=4)
    else:
        cfg.train_cfg = dict(type='mmcae.EpochBasedTrainLoop', max_epochs=2)
    cfg.default_hooks.checkpoint.pop('save_best', None)
    cfg.default_hooks.pop('visualization', None)
    cfg.log_level = 'WARNING'
    cfg.launcher = 'none'
    cfg.work_dir = str(folder / 'run')
    return cfg


@pytest.mark.slow
@pytest.mark.parametrize(
    ('kind', 'needs'), [('ade', 'mmseg'), ('coco', 'mmdet')]
)
def test_bad_batch__is_skipped_and_repeated(kind, needs, tmp_path):
    pytest.importorskip(f'{needs}.models')
    fresh()
    runner = build_runner(config(kind, tmp_path))
    steps, tensors, (line,) = train(runner, Poison([2]))
    assert all(bool(value.isfinite().all()) for value in tensors.values())
    assert all(file in line for file in steps.files[2])
    fresh()
    result = replay(tmp_path / 'run/non_finite/iter_3')
    assert result.is_equal
    assert result.files == steps.files[2]
