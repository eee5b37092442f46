# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
import copy
import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
from mmengine.dataset import ConcatDataset, RepeatDataset
from torch.utils.data import default_collate

from mmcae.datasets import FolderDataset, SampleIndex, sample_rng, sample_seed

IDENTITY = (3, 5, 7)


def test_sample_index__is_an_int_with_an_identity():
    index = SampleIndex(7, IDENTITY)
    assert index == 7
    assert [10, 11, 12, 13, 14, 15, 16, 17][index] == 17
    assert json.dumps({'i': index}) == '{"i": 7}'
    assert f'{index}' == repr(index) == '7'
    assert default_collate([index, index]).tolist() == [7, 7]


@pytest.mark.parametrize(
    'trip',
    [
        lambda i: pickle.loads(pickle.dumps(i)),
        copy.deepcopy,
        copy.copy,
        lambda i: i - 0,
        lambda i: i + 0,
        lambda i: 0 + i,
        lambda i: i % 100,
    ],
)
def test_sample_index__keeps_its_identity(trip):
    index = trip(SampleIndex(7, IDENTITY, 4, stands_in=True))
    assert index == 7
    assert index.identity == IDENTITY
    assert index.view == (3, 1, 7)
    assert index.stands_in


@pytest.mark.parametrize(
    'wrap',
    [
        lambda d: ConcatDataset([d, d]),
        lambda d: RepeatDataset(d, 2),
    ],
)
def test_sample_index__survives_the_wrappers(photos, wrap):
    data = wrap(FolderDataset(str(photos), pipeline=[]))
    found = data[SampleIndex(15, (0, 0, 15))]['sample_idx']
    assert found == 4
    assert found.identity == (0, 0, 15)


def test_sample_rng__differs_in_every_part_of_the_identity():
    def draw(identity=IDENTITY, stream='mask', calls=1):
        results = {'sample_idx': SampleIndex(7, identity)}
        for _ in range(calls):
            rng = sample_rng(results, stream)
        return rng.random()

    assert draw() == draw()
    others = [
        draw((4, 5, 7)),
        draw((3, 6, 7)),
        draw((3, 5, 8)),
        draw((3 + 2**32, 5, 7)),
        draw((-3, 5, 7)),
        draw((5, 3, 7)),
        draw(stream='crop'),
        draw(calls=2),
        draw(calls=3),
    ]
    assert len({draw(), *others}) == len(others) + 1


def test_sample_rng__is_uniform_over_neighboring_identities():
    draws = [
        sample_rng({'sample_idx': SampleIndex(i, (0, e, i))}, 'x').random()
        for i in range(100)
        for e in range(40)
    ]
    counts = np.histogram(draws, bins=20, range=(0, 1))[0]
    # chi-square with 19 degrees of freedom: 43.8 is its 99.9 % point
    assert ((counts - 200) ** 2 / 200).sum() < 43.8
    epochs = np.reshape(draws, (100, 40))
    correlation = np.corrcoef(epochs[:, :-1].ravel(), epochs[:, 1:].ravel())
    assert abs(correlation[0, 1]) < 0.07


def test_identity_rng__is_the_same_in_another_process():
    code = (
        f'import runpy; module = runpy.run_path({sample_seed.__file__!r});'
        'print(repr(module["identity_rng"]((3, 5, 7), "mask").random()))'
    )
    out = subprocess.run(
        [sys.executable, '-c', code],
        capture_output=True,
        text=True,
        check=True,
        env={'PYTHONHASHSEED': '12345', 'PATH': ''},
    ).stdout
    # Another number here means that every seed gives other draws.
    assert float(out.splitlines()[-1]) == 0.050580965137223766


def test_sample_rng__draws_from_the_global_state_without_identity():
    for results in ({}, {'sample_idx': 7}):
        np.random.seed(11)
        first = sample_rng(results, 'mask').random(3)
        second = sample_rng(results, 'mask').random(3)
        np.random.seed(11)
        again = sample_rng(results, 'mask').random(3)
        assert np.array_equal(first, again)
        assert not np.array_equal(first, second)


def test_sample_rng__is_cheap():
    """Count the slow SeedSequences of NumPy (20 us each) instead of time."""
    results = {'sample_idx': SampleIndex(7, IDENTITY)}
    sample_rng(results, 'mask')
    calls = 0

    def count(frame, event, _):
        nonlocal calls
        calls += event in ('call', 'c_call')

    sys.setprofile(count)
    try:
        sample_rng(results, 'mask')
    finally:
        sys.setprofile(None)
    assert calls < 25
