# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Settings that every test shares: one thread, fixed seeds."""

import os

# Before torch is imported: small tensors are faster on one thread, and the
# sums have one order.
os.environ.setdefault('OMP_NUM_THREADS', '1')
os.environ.setdefault('KMP_AFFINITY', 'disabled')

import random
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer


@pytest.fixture(autouse=True)
def _fixed_seeds():
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


# A Runner leaves these behind: scope, logger, message hub, visualizer.
MANAGERS = (DefaultScope, MMLogger, MessageHub, Visualizer)


@contextmanager
def _as_before():
    before = [manager._instance_dict.copy() for manager in MANAGERS]
    levels = {log: log.level for log in MMLogger._instance_dict.values()}
    yield
    for manager, instances in zip(MANAGERS, before, strict=True):
        manager._instance_dict.clear()
        manager._instance_dict.update(instances)
    for log, level in levels.items():
        log.setLevel(level)


@pytest.fixture(autouse=True, scope='module')
def _own_runners_of_a_file():
    """A Runner that a file's fixture built must not reach other files."""
    with _as_before():
        yield


@pytest.fixture(autouse=True)
def _own_runners():
    """A Runner built in one test must not decide the scope of the next."""
    with _as_before():
        yield
