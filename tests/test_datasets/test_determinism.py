# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Pixels and masks depend only on (seed, epoch, index)."""

import numpy as np
import pytest
import torch
from mmengine.runner import Runner

PIPELINE = [
    dict(type='mmcae.LoadImage'),
    dict(type='mmcae.RandomFlip', prob=0.5),
    dict(
        type='mmcae.TwoViewRandomResizedCrop',
        size=32,
        second_size=16,
    ),
    dict(
        type='mmcae.BlockMaskGenerator',
        input_size=4,
        num_masking_patches=8,
        min_num_patches=2,
    ),
    dict(type='mmpretrain.PackInputs'),
]


def build(photos, workers=0, seed=0, sampler='SeededSampler', **kwargs):
    cfg = dict(
        batch_size=2,
        num_workers=workers,
        sampler=dict(type=f'mmcae.{sampler}', shuffle=True),
        collate_fn=dict(type='default_collate'),
        dataset=dict(
            type='mmcae.FolderDataset',
            data_root=str(photos),
            pipeline=PIPELINE,
        ),
        **kwargs,
    )
    return Runner.build_dataloader(cfg, seed=seed)


def collect(loader, epochs=2):
    """Map (epoch, index) to the bytes of a sample, in loading order."""
    seen = {}
    for epoch in range(epochs):
        loader.sampler.set_epoch(epoch)
        for batch in loader:
            views = zip(*batch['inputs'], strict=True)
            for (view, target), sample in zip(
                views, batch['data_samples'], strict=True
            ):
                assert sample.mask.dtype == torch.bool
                assert sample.mask.sum() == 8
                seen[epoch, int(sample.sample_idx)] = b''.join(
                    x.numpy().tobytes() for x in (view, target, sample.mask)
                )
    return seen


@pytest.fixture
def expected(photos):
    return collect(build(photos))


@pytest.mark.parametrize('persistent', [False, True])
def test_loader__is_the_same_with_0_and_4_workers(
    photos, expected, persistent
):
    np.random.seed(99)
    found = collect(build(photos, 4, persistent_workers=persistent))
    assert list(found.items()) == list(expected.items())


@pytest.mark.parametrize('workers', [0, 2])
def test_loader__is_the_same_with_1_and_2_processes(
    photos, expected, workers, monkeypatch
):
    parts = []
    for rank in range(2):
        monkeypatch.setattr(
            'mmengine.dataset.sampler.get_dist_info', lambda r=rank: (r, 2)
        )
        np.random.seed(rank)
        parts.append(collect(build(photos, workers)))
        assert len(parts[-1]) == 12  # 6 of 11 in each epoch
    assert set(parts[0]) | set(parts[1]) == set(expected)
    for part in parts:
        assert all(expected[key] == value for key, value in part.items())


def test_loader__is_the_same_after_a_restart(photos, expected):
    loader = build(photos)
    loader.sampler.set_epoch(1)
    batches = [b['inputs'][0].numpy().tobytes() for b in loader]
    assert len(batches) == 6
    tail = collect(build(photos), 2)
    assert tail == expected


def test_loader__differs_between_epochs_seeds_and_indices(photos, expected):
    assert len(set(expected.values())) == 22
    other = collect(build(photos, seed=1))
    assert not set(other.values()) & set(expected.values())


def test_loader__is_the_same_in_an_iteration_loop(photos):
    def run(workers):
        loader = build(photos, workers, sampler='SeededInfiniteSampler')
        batches = zip(range(12), loader, strict=False)
        return [
            (b['inputs'][0].numpy().tobytes(), b['data_samples'][0].sample_idx)
            for _, b in batches
        ]

    alone = run(0)
    assert alone == run(2)
    assert len({pixels for pixels, _ in alone}) == 12


def test_pipeline__draws_from_the_global_state_without_identity(photos):
    data = build(photos).dataset

    def run():
        np.random.seed(5)
        return [
            data[i]['inputs'][0].numpy().tobytes() for i in (0, 0, 0, 1, 2)
        ]

    first = run()
    assert first == run()
    assert len(set(first)) == 5
