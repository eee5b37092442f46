# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
import math
import random

import numpy as np
import pytest

from mmcae.datasets import (
    BEiTMaskGenerator,
    BlockMaskGenerator,
    RandomMaskGenerator,
    SampleIndex,
    block_mask,
    random_mask,
)
from mmcae.registry import TRANSFORMS

GRIDS = [(14, 14), (4, 4), (3, 7), (1, 5), (5, 1), (2, 2), (1, 1)]


def coverage(make, count):
    mean = sum(make().astype(float) for _ in range(count)) / count
    h, w = mean.shape
    center = mean[h // 2 - 2 : h // 2 + 2, w // 2 - 2 : w // 2 + 2]
    return mean, center.mean()


def reference_mask(rnd, height, width, num_masked, smallest, limit):
    """A plain implementation of the rule, in rounds of ten attempts."""
    mask = np.zeros((height, width), dtype=bool)
    while mask.sum() < num_masked:
        room = min(num_masked - int(mask.sum()), limit)
        for _ in range(10):
            area = rnd.uniform(smallest, room)
            aspect = math.exp(rnd.uniform(math.log(0.3), math.log(1 / 0.3)))
            h = round(math.sqrt(area * aspect))
            w = round(math.sqrt(area / aspect))
            if not (h < height and w < width):
                continue
            top = rnd.randint(0, height - h)
            left = rnd.randint(0, width - w)
            new = h * w - int(mask[top : top + h, left : left + w].sum())
            if 0 < new <= room:
                mask[top : top + h, left : left + w] = True
                break
    return mask


@pytest.mark.parametrize(
    ('count', 'border', 'center'), [(98, 0.195, 0.845), (75, 0.135, 0.706)]
)
def test_block_mask__has_the_recorded_coverage(count, border, center):
    rng = np.random.default_rng(0)
    mean, middle = coverage(lambda: block_mask(rng, 14, 14, count), 4000)
    edges = [mean[0], mean[-1], mean[:, 0], mean[:, -1]]
    assert [e.mean() for e in edges] == pytest.approx([border] * 4, abs=0.012)
    assert middle == pytest.approx(center, abs=0.02)
    assert mean.min() > 0


@pytest.mark.parametrize(
    'args',
    [(7, 9, 31, 6, 31), (7, 9, 31, 2, 5), (4, 4, 8, 2, 8), (5, 3, 7, 2, 7)],
)
def test_block_mask__has_the_same_distribution_as_the_plain_rule(args):
    rng, rnd = np.random.default_rng(1), random.Random(1)
    ours, _ = coverage(lambda: block_mask(rng, *args), 4000)
    plain, _ = coverage(lambda: reference_mask(rnd, *args), 4000)
    # the standard error of a difference is at most 0.011
    assert np.abs(ours - plain).max() < 0.045
    assert np.abs(ours - plain).mean() < 0.012


@pytest.mark.parametrize('grid', GRIDS)
@pytest.mark.parametrize('smallest', [1, 2, 16])
def test_block_mask__is_exact_for_every_count(grid, smallest):
    rng = np.random.default_rng(0)
    for count in range(grid[0] * grid[1] + 1):
        mask = block_mask(rng, *grid, count, smallest)
        assert mask.shape == grid
        assert mask.dtype == bool
        assert mask.sum() == count


def test_block_mask__is_exact_under_odd_limits():
    rng = np.random.default_rng(0)
    limits = [(50, 3, 0.3, None), (1, 1, 1, 1), (400, 2, 9, 9), (2, 5, 1, 3)]
    for smallest, largest, low, high in limits:
        for count in (0, 1, 97, 196):
            mask = block_mask(rng, 14, 14, count, smallest, largest, low, high)
            assert mask.sum() == count


@pytest.mark.parametrize('grid', GRIDS)
def test_block_mask__can_mask_every_patch(grid):
    rng = np.random.default_rng(0)
    count = (grid[0] * grid[1] + 1) // 2
    mean, _ = coverage(lambda: block_mask(rng, *grid, count, 2), 400)
    assert mean.min() > 0.05


def test_block_mask__makes_blocks():
    """Neighbors are equal far more often than in a random mask."""
    rng = np.random.default_rng(0)

    def agreement(make):
        masks = [make() for _ in range(200)]
        return np.mean([(m[:, 1:] == m[:, :-1]).mean() for m in masks])

    assert agreement(lambda: block_mask(rng, 14, 14, 98)) > 0.8
    assert agreement(lambda: random_mask(rng, 14, 14, 98)) < 0.52


def test_random_mask__covers_evenly():
    rng = np.random.default_rng(0)
    mean, _ = coverage(lambda: random_mask(rng, 6, 5, 12), 4000)
    assert np.abs(mean - 0.4).max() < 0.035


@pytest.mark.parametrize('count', [-1, 17, 197])
@pytest.mark.parametrize('cls', [BlockMaskGenerator, RandomMaskGenerator])
def test_init__refuses_an_impossible_count(cls, count):
    with pytest.raises(ValueError, match=rf'cannot mask {count} .* 4 x 4'):
        cls(4, count)


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (dict(input_size=0), 'input_size .* got 0'),
        (dict(input_size=(4, 4, 4)), 'input_size'),
        (dict(min_num_patches=0), 'min_num_patches .* got 0'),
        (dict(max_num_patches=0), 'max_num_patches .* got 0'),
        (dict(min_aspect=-1), 'min_aspect .* got -1'),
        (dict(min_aspect=2, max_aspect=1), r'max_aspect \(1\)'),
    ],
)
def test_init__refuses_bad_limits(kwargs, message):
    with pytest.raises(ValueError, match=message):
        BlockMaskGenerator(
            **{'input_size': 4, 'num_masking_patches': 8, **kwargs}
        )


def test_init__needs_a_count_or_a_ratio():
    assert (
        RandomMaskGenerator((4, 6), mask_ratio=0.5).transform({})['mask'].sum()
        == 12
    )
    for kwargs in ({}, dict(num_masking_patches=3, mask_ratio=0.5)):
        with pytest.raises(ValueError, match='either'):
            RandomMaskGenerator(4, **kwargs)
    with pytest.raises(ValueError, match='between 0 and 1, got 75'):
        RandomMaskGenerator(4, mask_ratio=75)


@pytest.mark.parametrize(
    'cfg',
    [
        dict(type='mmcae.BlockMaskGenerator', min_num_patches=2),
        dict(type='mmcae.BEiTMaskGenerator', max_num_patches=4),
        dict(type='mmcae.RandomMaskGenerator'),
    ],
)
def test_transform__follows_the_identity(cfg):
    make = TRANSFORMS.build(
        dict(cfg, input_size=[4, 6], num_masking_patches=8)
    )

    def mask(*identity):
        return make({'sample_idx': SampleIndex(0, identity)})['mask']

    assert mask(0, 0, 0).shape == (4, 6)
    assert mask(0, 0, 0).sum() == 8
    assert np.array_equal(mask(0, 0, 0), mask(0, 0, 0))
    assert len({mask(0, e, i).tobytes() for e in (0, 1) for i in (0, 1)}) == 4
    np.random.seed(0)
    first = make({})['mask']
    assert not np.array_equal(first, make({})['mask'])
    np.random.seed(0)
    assert np.array_equal(first, make({})['mask'])


def test_init__has_mmpretrains_default_under_its_name():
    assert BEiTMaskGenerator((14, 14), 75).min_num_patches == 4
    assert BlockMaskGenerator((14, 14), 75).min_num_patches == 16
