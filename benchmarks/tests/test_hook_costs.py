# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The benchmark of the hooks trains in turns, and finds a slow hook."""

import time

import hook_costs
import pytest
from mmengine.config import Config

from mmcae.engine import SignalHook


@pytest.fixture(autouse=True)
def _tiny(monkeypatch):
    monkeypatch.setattr(Config, 'pretty_text', 'config = None\n')
    monkeypatch.setitem(
        hook_costs.MODELS, 'digits', (16, 1, 2, 32, 8, 8, 4, 4)
    )


def test_measure__finds_a_slow_hook(monkeypatch):
    plain, ratios = hook_costs.measure('digits', 3)
    assert plain > 0
    assert len(ratios) == 3
    former = SignalHook.after_train_iter

    def slow(self, *args, **kwargs):
        end = time.thread_time() + 3 * plain
        while time.thread_time() < end:
            pass
        former(self, *args, **kwargs)

    monkeypatch.setattr(SignalHook, 'after_train_iter', slow)
    _, ratios = hook_costs.measure('digits', 3)
    assert sorted(ratios)[1] > 2
