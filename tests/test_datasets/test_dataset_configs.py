# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.runner import Runner
from mmpretrain.registry import MODELS
from PIL import Image

CONFIGS = Path(__file__).parents[2] / 'configs' / '_base_' / 'datasets'


@pytest.mark.parametrize('name', ['imagenet_cae_224', 'folder_cae_224'])
def test_config__feeds_the_model(name, photos, tmp_path):
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    loader = cfg.train_dataloader
    assert loader.batch_size == 256
    assert loader.drop_last
    if name.startswith('imagenet'):
        (tmp_path / 'train').symlink_to(photos)
        loader.dataset.data_root = str(tmp_path)
        loader.dataset.metainfo = dict(classes=['a', 'b', 'c'])
    else:
        assert loader.dataset.data_root == 'data/images'
        loader.dataset.data_root = str(photos)
    loader.update(batch_size=4, num_workers=1)
    batch = next(iter(Runner.build_dataloader(loader, seed=0)))
    out = MODELS.build(cfg.data_preprocessor)(batch)
    view, target = out['inputs']
    assert view.shape == (4, 3, 224, 224)
    assert target.shape == (4, 3, 112, 112)
    assert target.min() >= 0.1 - 1e-6
    assert target.max() <= 0.9 + 1e-6
    for sample in out['data_samples']:
        assert sample.mask.shape == (14, 14)
        assert sample.mask.sum() == 98


def test_config__has_625_steps_in_an_epoch():
    cfg = Config.fromfile(CONFIGS / 'imagenet_cae_224.py').train_dataloader
    per_rank = -(-1281167 // 8)
    assert per_rank // cfg.batch_size == 625


def test_pipeline__of_the_official_recipe_on_digits(tmp_path):
    """The demo's pipeline: no flip, no crop, tokens of an 8x tokenizer."""
    Image.fromarray(np.eye(8, dtype=np.uint8) * 255).save(tmp_path / 'a.png')
    cfg = dict(
        batch_size=1,
        sampler=dict(type='mmcae.SeededSampler'),
        collate_fn=dict(type='default_collate'),
        dataset=dict(
            type='mmcae.FolderDataset',
            data_root=str(tmp_path),
            cache=True,
            pipeline=[
                dict(type='mmcae.LoadImage'),
                dict(type='mmcae.TwoViewResize', size=32, second_size=32),
                dict(
                    type='mmcae.BlockMaskGenerator',
                    input_size=4,
                    num_masking_patches=8,
                    min_num_patches=2,
                ),
                dict(type='mmpretrain.PackInputs'),
            ],
        ),
    )
    batch = next(iter(Runner.build_dataloader(cfg, seed=0)))
    assert [x.shape for x in batch['inputs']] == [(1, 3, 32, 32)] * 2
    assert batch['data_samples'][0].mask.sum() == 8
