# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""`Seeded` makes global draws depend on the sample."""

import random

import numpy as np
import pytest
import torch
from mmcv.transforms import BaseTransform

from mmcae.datasets import SampleIndex, Seeded


class Draw(BaseTransform):
    """Record a number from each global generator."""

    def transform(self, results):
        # A lone normal draw: NumPy keeps its pair for the next call.
        numbers = (np.random.normal(), random.random(), torch.rand(()).item())
        return dict(results, drawn=(*results.get('drawn', ()), *numbers))


class Stop(BaseTransform):
    def transform(self, results):
        np.random.rand()
        return None


class Fail(BaseTransform):
    def transform(self, results):
        np.random.rand()
        raise RuntimeError('no')


def sample(index=3, epoch=1, seed=0):
    return dict(sample_idx=SampleIndex(index, (seed, epoch, index)))


def states():
    return np.random.get_state(), random.getstate(), torch.get_rng_state()


def same(before, after):
    assert before[0][0] == after[0][0] == 'MT19937'
    assert np.array_equal(before[0][1], after[0][1])
    assert before[0][2] == after[0][2]
    assert before[1] == after[1]
    return torch.equal(before[2], after[2])


def test_transform__draws_depend_only_on_the_sample():
    transform = Seeded([Draw()])
    drawn = transform(sample())['drawn']
    np.random.seed(5), random.seed(5), torch.manual_seed(5)
    np.random.normal()
    assert transform(sample())['drawn'] == drawn
    for other in (sample(index=4), sample(epoch=2), sample(seed=1)):
        assert not set(transform(other)['drawn']) & set(drawn)


def test_transform__draws_do_not_depend_on_the_other_transforms():
    class Other(Draw):
        pass

    alone = Seeded([Draw()])(sample())['drawn']
    after = Seeded([Other(), Draw()])(sample())['drawn']
    assert after[3:] == alone
    assert not set(after[:3]) & set(alone)
    twice = Seeded([Draw(), Draw()])(sample())['drawn']
    assert twice[:3] == alone
    assert not set(twice[3:]) & set(alone)


def test_transform__restores_the_global_generators():
    before = states()
    Seeded([Draw()])(sample())
    assert Seeded([Draw(), Stop(), Fail()])(sample()) is None
    with pytest.raises(RuntimeError, match='no'):
        Seeded([Fail()])(sample())
    assert same(before, states())


def test_transform__uses_the_global_generators_without_an_identity():
    transform = Seeded([Draw()])
    first, second = (transform(dict())['drawn'] for _ in range(2))
    assert first != second
    np.random.seed(0), random.seed(0), torch.manual_seed(0)
    assert transform(dict(sample_idx=3))['drawn'] == first


def test_init__builds_configs():
    transform = Seeded([dict(type='mmpretrain.RandomErasing')])
    assert 'RandomErasing' in repr(transform)
