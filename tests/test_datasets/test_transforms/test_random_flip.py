# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
import numpy as np
import pytest

from mmcae.datasets import RandomFlip, SampleIndex

IMG = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)


def flip(transform, index):
    results = {'img': IMG, 'sample_idx': SampleIndex(index, (0, 0, index))}
    return transform(results)


def test_transform__flips_the_given_share():
    results = [flip(RandomFlip(prob=0.25), i) for i in range(2000)]
    share = np.mean([r['flip'] for r in results])
    assert share == pytest.approx(0.25, abs=0.03)
    for r in results[:50]:
        expected = IMG[:, ::-1] if r['flip'] else IMG
        assert np.array_equal(r['img'], expected)
        assert r['flip_direction'] == ('horizontal' if r['flip'] else None)


def test_transform__chooses_among_directions():
    both = ['horizontal', 'vertical']
    for transform, expected in (
        (RandomFlip(prob=0.6, direction=both), (0.3, 0.3)),
        (RandomFlip(prob=[0.1, 0.7], direction=both), (0.1, 0.7)),
    ):
        found = [flip(transform, i)['flip_direction'] for i in range(2000)]
        shares = [found.count(direction) / 2000 for direction in both]
        assert shares == pytest.approx(expected, abs=0.035)


@pytest.mark.parametrize(('prob', 'flipped'), [(0.0, False), (1.0, True)])
def test_transform__flips_never_or_always(prob, flipped):
    transform = RandomFlip(prob=prob)
    assert all(flip(transform, i)['flip'] is flipped for i in range(50))


def test_transform__draws_from_the_global_state_on_a_bare_dict():
    transform = RandomFlip(prob=0.5)

    def run():
        np.random.seed(0)
        return [transform({'img': IMG})['flip'] for _ in range(30)]

    assert run() == run()
    assert 0 < sum(run()) < 30


def test_transform__makes_new_draws_for_a_second_flip():
    transform = RandomFlip(prob=0.5)
    pairs = set()
    for i in range(40):
        results = flip(transform, i)
        first = results['flip']
        pairs.add((first, transform(results)['flip']))
    assert len(pairs) == 4
