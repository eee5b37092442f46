# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
import itertools

import pytest
import torch
from mmengine.dataset import DefaultSampler, InfiniteSampler

from mmcae.datasets import SeededInfiniteSampler, SeededSampler
from mmcae.registry import DATA_SAMPLERS

DATA = range(11)


@pytest.fixture(params=[(0, 1), (0, 2), (1, 2), (2, 3)])
def rank(request, monkeypatch):
    monkeypatch.setattr(
        'mmengine.dataset.sampler.get_dist_info', lambda: request.param
    )
    return request.param


@pytest.mark.parametrize('shuffle', [True, False])
@pytest.mark.parametrize('round_up', [True, False])
def test_iter__equals_default_sampler(rank, shuffle, round_up):
    ours = SeededSampler(DATA, shuffle, seed=5, round_up=round_up)
    theirs = DefaultSampler(DATA, shuffle, seed=5, round_up=round_up)
    assert len(ours) == len(theirs)
    for epoch in (0, 1, 7):
        ours.set_epoch(epoch)
        theirs.set_epoch(epoch)
        indices = list(ours)
        assert indices == list(theirs)
        assert [i.identity for i in indices] == [
            (5, epoch, i) for i in indices
        ]


@pytest.mark.parametrize('shuffle', [True, False])
def test_iter__equals_infinite_sampler(rank, shuffle):
    ours = SeededInfiniteSampler(DATA, shuffle, seed=5)
    theirs = InfiniteSampler(DATA, shuffle, seed=5)
    assert len(ours) == len(theirs)
    indices = list(itertools.islice(ours, 40))
    assert indices == list(itertools.islice(theirs, 40))
    number, world = rank
    for k, index in enumerate(indices):
        passes = (number + k * world) // len(DATA)
        assert index.identity == (5, passes, index)


@pytest.mark.parametrize('num_samples', [0, 1, 10, 11, 12, 37])
def test_skip__continues_the_stream(rank, num_samples):
    whole = SeededInfiniteSampler(DATA, seed=5)
    expected = list(itertools.islice(whole, num_samples + 30))[num_samples:]
    resumed = SeededInfiniteSampler(DATA, seed=5)
    resumed.skip(num_samples)
    indices = list(itertools.islice(resumed, 30))
    assert indices == expected
    assert [i.identity for i in indices] == [i.identity for i in expected]


def test_skip__refuses_a_negative_number():
    with pytest.raises(ValueError, match=r'num_samples .* got -1'):
        SeededInfiniteSampler(DATA, seed=0).skip(-1)


def test_init__refuses_an_empty_dataset():
    with pytest.raises(ValueError, match='empty'):
        SeededInfiniteSampler([], seed=0)


def test_init__shares_a_seed_between_processes(monkeypatch):
    # With diff_rank_seed=True, mmengine's Runner passes seed=None.
    monkeypatch.setattr(
        'mmengine.dataset.sampler.sync_random_seed', lambda: 1234
    )
    for name in ('SeededSampler', 'SeededInfiniteSampler'):
        sampler = DATA_SAMPLERS.build(
            dict(type=f'mmcae.{name}', dataset=DATA, seed=None)
        )
        assert next(iter(sampler)).identity[0] == 1234


def test_skip__makes_no_index_for_skipped_samples():
    sampler = SeededInfiniteSampler(range(1_000_000), seed=0)
    sampler.skip(900_000)
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(1_000_000, generator=generator)
    assert next(iter(sampler)) == order[900_000]
