# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The samples shown are those of a training run."""

import numpy as np
import pytest
import torch
from helpers.tiny_checkpoint import tiny_config
from mmengine.registry import DATA_SAMPLERS, DATASETS, DefaultScope
from PIL import Image

from mmcae.apis.pipeline_samples import pipeline_samples, training_config
from mmcae.checkpoint.errors import UnreadableCheckpointError


@pytest.fixture
def config(tmp_path):
    folder = tmp_path / 'images'
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(6):
        pixels = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f'{number}.png')
    config = tiny_config()
    config.train_dataloader.dataset.data_root = str(folder)
    config.train_dataloader.dataset.pipeline.insert(
        1, dict(type='mmcae.RandomFlip', prob=0.5)
    )
    config.randomness.seed = 5
    return config


def test_samples__are_those_of_the_run(config):
    found = {
        (sample.index, sample.epoch): sample
        for sample in pipeline_samples(config, [0, 3], range(3))
    }
    assert list(found) == [(i, e) for i in (0, 3) for e in range(3)]
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        dataset = DATASETS.build(config.train_dataloader.dataset)
        sampler = DATA_SAMPLERS.build(
            config.train_dataloader.sampler,
            default_args=dict(dataset=dataset, seed=5),
        )
    for epoch in range(3):
        sampler.set_epoch(epoch)
        for index in sampler:
            if index not in (0, 3):
                continue
            packed, sample = dataset[index], found[int(index), epoch]
            for view, wanted in zip(
                sample.views, packed['inputs'], strict=True
            ):
                rgb = wanted.flip(0).permute(1, 2, 0) / 255
                np.testing.assert_allclose(view, rgb.numpy(), atol=1e-6)
            mask = packed['data_samples'].mask
            np.testing.assert_array_equal(sample.mask, np.asarray(mask))
    masks = {found[0, epoch].mask.tobytes() for epoch in range(3)}
    assert len(masks) > 1
    assert found[3, 0].name == '3.png'


def test_seed__changes_the_masks(config):
    (first,), (other,) = (
        list(pipeline_samples(config, [0], seed=seed)) for seed in (5, 6)
    )
    (default,) = pipeline_samples(config, [0])
    np.testing.assert_array_equal(first.mask, default.mask)
    assert (first.mask != other.mask).any()


def test_training_config__comes_from_a_checkpoint(config, tmp_path):
    path = tmp_path / 'epoch_1.pth'
    torch.save(dict(state_dict={}, meta=dict(cfg=config.pretty_text)), path)
    found = training_config(path)
    (sample,) = pipeline_samples(found, [2])
    assert sample.name == '2.png'
    torch.save(dict(state_dict={}), path)
    with pytest.raises(ValueError, match='has no config'):
        training_config(path)
    config.train_dataloader.dataset.type = 'os.system'
    torch.save(dict(state_dict={}, meta=dict(cfg=config.pretty_text)), path)
    with pytest.raises(UnreadableCheckpointError, match=r'os\.system'):
        training_config(path)


def test_mistakes__are_named(config):
    with pytest.raises(ValueError, match='no image 6: the dataset has 6'):
        list(pipeline_samples(config, [6]))
    config.pop('train_dataloader')
    with pytest.raises(ValueError, match='no train_dataloader'):
        training_config(config)
    with pytest.raises(FileNotFoundError, match='no config'):
        training_config('cae_giant')
