# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Augmentation of fine-tuning: the authors' values, the same in every run."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from PIL import Image
from sklearn.datasets import load_sample_images

from mmcae.config.search_path import find_config
from mmcae.registry import TRANSFORMS

RECIPE = 'beit-base-p16_cae-pre_8xb128-coslr-100e_in1k'


@pytest.fixture(scope='module')
def image_folder(tmp_path_factory):
    """Two classes of crops of photographs, in ImageNet's layout."""
    root = tmp_path_factory.mktemp('data')
    for label, pixels in enumerate(load_sample_images().images):
        folder = root / 'train' / f'n0000000{label}'
        folder.mkdir(parents=True)
        for i in range(6):
            image = Image.fromarray(pixels[:: 2 + i, 8 * i :: 2])
            image.save(folder / f'{i}.png')
    return root


def config_of(image_folder, workers=0):
    init_default_scope('mmpretrain')
    config = Config.fromfile(find_config(RECIPE))
    config.train_dataloader.update(
        batch_size=4, num_workers=workers, persistent_workers=workers > 0
    )
    config.train_dataloader.dataset.update(
        data_root=str(image_folder),
        metainfo=dict(classes=['china', 'flower']),
    )
    return config


def test_pipeline__augments_as_the_authors():
    """timm's rand-m9-mstd0.5-inc1 and erasing, on BGR images."""
    pipeline = Config.fromfile(find_config(RECIPE)).train_pipeline
    init_default_scope('mmpretrain')
    crop, flip, (augment, erasing) = (
        TRANSFORMS.build(pipeline[1]),
        TRANSFORMS.build(pipeline[2]),
        TRANSFORMS.build(pipeline[3]).transforms,
    )
    assert (crop.size, crop.scale) == ((224, 224), (0.08, 1.0))
    assert flip.prob == 0.5
    assert augment.num_policies == 2
    assert len(augment.transforms) == 15
    for operation in augment.transforms:
        assert operation.prob == 0.5
        if operation.magnitude_range is not None:
            assert operation.total_level == 10
            assert operation.magnitude_level == 9
            assert operation.magnitude_std == 0.5
        if hasattr(operation, 'pad_val'):
            assert tuple(operation.pad_val) == (104, 116, 124)
            assert operation.interpolation == 'bicubic'
    assert erasing.erase_prob == 0.25
    assert erasing.mode == 'rand'
    areas = (erasing.min_area_ratio, erasing.max_area_ratio)
    assert areas == (0.02, 1 / 3)
    assert erasing.aspect_range == pytest.approx((0.3, 1 / 0.3))
    assert erasing.fill_color == [103.53, 116.28, 123.675]
    assert erasing.fill_std == [57.375, 57.12, 58.395]


def samples(image_folder, workers, epochs=(0, 1)):
    """Map (epoch, index) to the pixels that the model is given."""
    config = config_of(image_folder, workers)
    loader = Runner.build_dataloader(config.train_dataloader, seed=0)
    found = {}
    for epoch in epochs:
        loader.sampler.set_epoch(epoch)
        for batch in loader:
            for pixels, sample in zip(
                batch['inputs'], batch['data_samples'], strict=True
            ):
                found[epoch, int(sample.sample_idx)] = pixels.numpy().tobytes()
    return found


def test_samples__are_the_same_with_0_and_2_workers_and_after_a_restart(
    image_folder,
):
    alone = samples(image_folder, 0)
    assert len(set(alone.values())) == 24
    np.random.seed(99)
    assert list(samples(image_folder, 2).items()) == list(alone.items())
    second = {key: value for key, value in alone.items() if key[0] == 1}
    assert samples(image_folder, 0, epochs=[1]) == second


def run(image_folder, work_dir, epochs=2, resume=False, seed=0):
    """Train a tiny model of the recipe; return its weights."""
    config = config_of(image_folder)
    config.model.backbone.update(
        arch=dict(
            embed_dims=32,
            num_layers=2,
            num_heads=4,
            feedforward_channels=64,
        ),
        drop_path_rate=0.5,
    )
    config.model.backbone.pop('init_cfg')
    config.model.head.update(in_channels=32, init_cfg=None)
    for split in ('val', 'test'):
        for part in ('dataloader', 'evaluator', 'cfg'):
            config.pop(f'{split}_{part}')
    # One update per epoch: an interruption would lose accumulated gradients.
    config.optim_wrapper.accumulative_counts = 3
    config.train_cfg = dict(by_epoch=True, max_epochs=epochs)
    config.param_scheduler = []
    config.default_hooks.checkpoint = dict(type='CheckpointHook', interval=1)
    config.work_dir, config.resume = str(work_dir), resume
    config.randomness.seed = seed
    runner = Runner.from_cfg(config)
    runner.train()
    assert runner.iter == 3 * epochs
    return runner.model.state_dict()


def test_run__resumed_equals_uninterrupted(image_folder, tmp_path):
    """Augmentation, mixing and drop path included."""
    whole = run(image_folder, tmp_path / 'whole')
    run(image_folder, tmp_path / 'parts', epochs=1)
    resumed = run(image_folder, tmp_path / 'parts', resume=True)
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)
    other = run(image_folder, tmp_path / 'other', seed=1)
    assert any(not torch.equal(whole[key], other[key]) for key in whole)
