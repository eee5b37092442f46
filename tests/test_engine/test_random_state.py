# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The state of the generators is taken and restored."""

import random

import numpy as np
import pytest
import torch

from mmcae.engine import random_state
from mmcae.engine.random_state import (
    RandomMoment,
    get_random_state,
    preserved_random_state,
    set_random_state,
)


def draw() -> list[float]:
    return [random.random(), float(np.random.rand()), torch.rand(()).item()]


@pytest.mark.parametrize('known', [True, False])
@pytest.mark.parametrize('draws', [0, 5, 700])
def test_state__is_that_of_numpy(monkeypatch, known, draws):
    """Both ways to copy it: by bytes, and by NumPy's function."""
    monkeypatch.setattr(random_state, '_has_known_layout', lambda: known)
    np.random.seed(3)
    np.random.rand(draws)
    moment = RandomMoment()
    _, keys, position, *_ = np.random.get_state(legacy=True)
    np.random.rand(1000)  # the moment keeps what was
    state = moment.tensors()['numpy']
    assert state.tolist() == [*keys.tolist(), position]


@pytest.mark.parametrize('known', [True, False])
@pytest.mark.parametrize('draws', [0, 1, 700])
def test_state__is_that_of_python(monkeypatch, known, draws):
    monkeypatch.setattr(random_state, '_has_known_python', lambda: known)
    random.seed(draws)
    for _ in range(draws):
        random.random()
    moment = random_state.RandomMoment()
    version, numbers, _ = random.getstate()
    random.random()
    assert moment.tensors()['python'].tolist() == [version, *numbers]


def test_state__another_generator_of_python_is_asked(monkeypatch):
    random_state._has_known_python.cache_clear()
    monkeypatch.setattr(random, '_inst', random.SystemRandom())
    assert not random_state._has_known_python()
    random_state._has_known_python.cache_clear()


def test_state__layout_is_known_here():
    assert random_state._is_twister()
    assert random_state._has_known_layout()
    assert random_state._has_known_python()


def test_set_random_state__repeats_the_draws():
    state = get_random_state()
    first = draw()
    assert draw() != first
    set_random_state(state)
    assert draw() == first


def test_preserved_random_state__also_after_an_error():
    state = get_random_state()
    expected = draw()
    set_random_state(state)
    with pytest.raises(ZeroDivisionError), preserved_random_state():
        _ = draw()[0] / 0
    assert draw() == expected
