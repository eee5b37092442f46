# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Identify a view; stored tokens do not change the rest of a sample."""

import json

import numpy as np
import pytest
from helpers.recordings import DATA

from mmcae.config.overrides import ConfigError
from mmcae.datasets import (
    FolderDataset,
    LoadTokens,
    RandomResizedCrop,
    SampleIndex,
    SeededSampler,
    TokenStore,
    sample_rng,
)
from mmcae.datasets.token_store.header import describe_images, describe_views
from mmcae.datasets.transforms.target_view import target_view_settings

#: Pipelines, and how headers described them when stores were introduced.
RECORDED = json.loads((DATA / 'token_views.json').read_text())

PIPELINE = [
    dict(type='mmcae.LoadImage'),
    dict(type='mmcae.RandomFlip', prob=0.5),
    dict(type='mmcae.TwoViewRandomResizedCrop', size=32, second_size=16),
    dict(
        type='mmcae.BlockMaskGenerator',
        input_size=4,
        num_masking_patches=8,
        min_num_patches=2,
    ),
]


def data(photos, pipeline=PIPELINE):
    return FolderDataset(str(photos), pipeline=pipeline)


def test_view_pool__repeats_views_but_not_masks(photos):
    dataset = data(photos)

    def sample(epoch, pool):
        results = dataset[SampleIndex(4, (0, epoch, 4), pool)]
        return results['img'][1].tobytes(), results['mask'].tobytes()

    pooled = [sample(epoch, 2) for epoch in range(6)]
    fresh = [sample(epoch, 0) for epoch in range(6)]
    assert [view for view, _ in pooled] == [v for v, _ in fresh[:2]] * 3
    assert [mask for _, mask in pooled] == [m for _, m in fresh]
    assert len({view for view, _ in fresh}) == 6
    assert len({mask for _, mask in fresh}) == 6


def test_view_pool__comes_from_the_sampler(photos):
    sampler = SeededSampler(data(photos), seed=3, view_pool=4)
    sampler.set_epoch(6)
    for index in sampler:
        assert index.view == (3, 2, index)
        assert index.identity == (3, 6, index)
    for wrong in (-1, 1.5):
        with pytest.raises(ValueError, match='view_pool'):
            SeededSampler(data(photos), view_pool=wrong)


def test_load_tokens__does_not_change_the_rest_of_the_sample(photos, tmp_path):
    header = dict(
        format=1,
        tokenizer=dict(vocab_size=50),
        dataset=dict(images=11),
        grid=[4, 4],
        seed=0,
    )
    folder = tmp_path / 'store'
    reader = dict(type='mmcae.LoadTokens', store=str(folder))
    dataset = data(photos, [reader, *PIPELINE])
    index = SampleIndex(4, (0, 0, 4))
    before = dataset[index]  # no store yet
    assert 'tokens' not in before
    store = TokenStore.for_run(folder, header)
    store.write((0, 0, 4), np.arange(16))
    stored = dataset[index]
    assert stored['tokens'].tolist() == list(range(16))
    assert len(before['img']) == 2
    assert len(stored['img']) == 1
    assert (stored['img'][0] == before['img'][0]).all()
    assert (stored['mask'] == before['mask']).all()
    others = [index.at(4, stands_in=True), 4, SampleIndex(4, (1, 0, 4))]
    for other in others:
        assert 'tokens' not in dataset[other]
    assert 'store=' in repr(LoadTokens(str(folder)))


def test_replacement__depends_on_the_view(photos):
    (photos / 'part0/deep/00.png').write_bytes(b'no image')
    dataset = data(photos)
    found = [
        dataset[SampleIndex(0, (0, epoch, 0), 2)]['sample_idx']
        for epoch in (0, 2)
    ]
    assert found[0] == found[1] != 0
    assert found[0].stands_in
    assert found[0].identity == (0, 0, 0)


@pytest.mark.parametrize(
    ('at', 'change', 'same'),
    [
        (2, dict(size=64, interpolation='bilinear'), True),
        (3, dict(num_masking_patches=5), True),
        (0, dict(backend='pil'), True),
        (1, dict(prob=0.4), False),
        (2, dict(scale=(0.2, 1.0)), False),
        (2, dict(ratio=(0.7, 1.3)), False),
        (2, dict(second_size=24), False),
        (2, dict(second_interpolation='bicubic'), False),
    ],
)
def test_describe_views__contains_settings_that_change_the_view(
    photos, at, change, same
):
    changed = [dict(item) for item in PIPELINE]
    changed[at].update(change)
    one, other = (
        describe_views(data(photos, pipeline))
        for pipeline in (PIPELINE, changed)
    )
    assert (one == other) is same
    assert one[1] == (16, 16)


@pytest.mark.parametrize('recorded', RECORDED)
def test_describe_views__matches_existing_stores(
    photos, monkeypatch, recorded
):
    """Another description would make all stored tokens useless."""
    monkeypatch.setattr('mmcae.datasets.transforms.resize.AVAILABLE', True)
    views, size = describe_views(data(photos, recorded['pipeline']))
    assert views == recorded['views']
    assert json.loads(json.dumps(views)) == recorded['views']
    assert list(size) == recorded['size']


@pytest.mark.parametrize('recorded', RECORDED[:3])
def test_describe_views__does_not_depend_on_other_attributes(photos, recorded):
    dataset = data(photos, recorded['pipeline'])
    before = describe_views(dataset)
    for transform in dataset.pipeline.transforms:
        transform._buffer = transform.buffer = 3
    assert describe_views(dataset) == before


class NoisyCrop(RandomResizedCrop):
    """A class of another package that adds settings to one of mmcae's."""

    def __init__(self, noise, **kwargs):
        super().__init__(**kwargs)
        self.noise = noise


class ExplicitCrop(NoisyCrop):
    def target_view_settings(self):
        return dict(noise=(self.noise, np.int64(2)))


def test_target_view_settings__of_other_packages():
    settings = target_view_settings(NoisyCrop(3, size=8))
    assert settings == dict(
        target_view_settings(RandomResizedCrop(size=8)), noise=3
    )
    explicit = target_view_settings(ExplicitCrop(3, size=8))
    assert explicit == dict(noise=[3, 2])


def test_describe_views__contains_the_library_that_resizes(
    photos, monkeypatch
):
    """'fast' is described as PIL where the library is not installed."""
    pipeline = [dict(item) for item in PIPELINE]
    pil = describe_views(data(photos, pipeline))
    pipeline[2]['backend'] = 'fast'
    monkeypatch.setattr('mmcae.datasets.transforms.resize.AVAILABLE', True)
    views, _ = describe_views(data(photos, pipeline))
    assert views['2_TwoViewRandomResizedCrop']['backend'] == 'cykooz'
    monkeypatch.setattr('mmcae.datasets.transforms.resize.AVAILABLE', False)
    assert describe_views(data(photos, pipeline)) == pil


def test_describe_views__needs_draws_seeded_by_the_sample(photos):
    flip = dict(type='mmcv.RandomFlip', prob=0.5)
    load, _, crop, _ = PIPELINE
    with pytest.raises(ConfigError, match=r'RandomFlip.*mmcae\.Seeded'):
        describe_views(data(photos, [load, flip, crop]))
    seeded = dict(type='mmcae.Seeded', transforms=[flip])
    views, _ = describe_views(data(photos, [load, seeded, crop]))
    assert views['1_Seeded']['0_RandomFlip']['prob'] == 0.5
    with pytest.raises(ConfigError, match='makes two views'):
        describe_views(data(photos, [load]))


def test_describe_images__tells_a_copy_from_another_dataset(photos, tmp_path):
    before = describe_images(data(photos))
    assert before['images'] == 11
    moved = tmp_path / 'moved'
    photos.rename(moved)
    assert describe_images(data(moved)) == before
    image = moved / 'part0/deep/00.png'
    image.write_bytes(image.read_bytes() + b'x')
    resized = describe_images(data(moved))
    assert resized['names'] == before['names']
    assert resized['sizes'] != before['sizes']
    image.rename(image.with_name('00b.png'))
    assert describe_images(data(moved))['names'] != before['names']


def test_sample_rng__mask_depends_on_the_epoch():
    def draw(stream, epoch):
        results = {'sample_idx': SampleIndex(1, (0, epoch, 1), 2)}
        return sample_rng(results, stream).random()

    assert draw('crop', 1) == draw('crop', 3) != draw('crop', 2)
    assert len({draw('mask', epoch) for epoch in range(6)}) == 6
