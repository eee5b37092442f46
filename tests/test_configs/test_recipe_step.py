# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The full-size recipe takes real steps on real photographs."""

import json

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from PIL import Image
from sklearn.datasets import load_sample_images

from mmcae.config.search_path import find_config

RECIPE = 'cae_beit-base-p16_8xb256-amp-coslr-300e_in1k'


@pytest.fixture
def photographs(tmp_path):
    folder = tmp_path / 'photographs' / 'sub'
    folder.mkdir(parents=True)
    for number, pixels in enumerate(load_sample_images().images):
        Image.fromarray(pixels).save(folder / f'{number}.jpg', quality=90)
    return folder.parent


@pytest.mark.slow
@pytest.mark.parametrize('precision', ['float32', 'bfloat16'])
def test_base__trains_on_photographs(photographs, tmp_path, precision):
    cfg = Config.fromfile(find_config(RECIPE))
    cfg.work_dir = str(tmp_path / 'work')
    # The tokenizer has its real size, but random weights.
    cfg.model.target_generator.pop('init_cfg')
    pipeline = cfg.train_dataloader.dataset.pipeline
    cfg.train_dataloader.update(
        batch_size=2, num_workers=0, persistent_workers=False
    )
    cfg.train_dataloader.dataset = dict(
        type='mmcae.FolderDataset',
        data_root=str(photographs),
        pipeline=pipeline,
    )
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=2)
    cfg.param_scheduler = []
    cfg.default_hooks.logger.interval = 1
    cfg.default_hooks.checkpoint = dict(
        type='CheckpointHook', interval=100, save_last=False
    )
    if precision == 'float32':
        cfg.optim_wrapper.type = 'OptimWrapper'
        cfg.optim_wrapper.pop('loss_scale')
    runner = Runner.from_cfg(cfg)
    trained = sum(
        p.numel() for p in runner.model.parameters() if p.requires_grad
    )
    assert trained == 148_681_472
    dtypes = set()
    runner.model.neck.head.register_forward_hook(
        lambda *args: dtypes.add(args[-1].dtype)
    )
    before = runner.model.backbone.cls_token.clone()
    runner.train()
    assert dtypes == {getattr(torch, precision)}
    assert not torch.equal(runner.model.backbone.cls_token, before)
    (log,) = (tmp_path / 'work').glob('*/vis_data/scalars.json')
    records = [json.loads(line) for line in log.read_text().splitlines()]
    assert len(records) == 2
    # An untrained model guesses among 8192 tokens: about ln 8192 = 9.0. The
    # range is wide, because an untrained tokenizer uses few codes.
    assert 7.5 < records[0]['main'] < 10.5
    assert records[1]['loss'] < records[0]['loss']
