# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Settings of all tests: one thread, fixed seeds, no leftover runners."""

import os

# Set before torch is imported. With one thread, small tensors are faster, and
# sums always have the same order.
os.environ.setdefault('OMP_NUM_THREADS', '1')
os.environ.setdefault('KMP_AFFINITY', 'disabled')

import functools
import random
from contextlib import contextmanager
from unittest import mock

import mmengine.config.utils as config_utils
import numpy as np
import pytest
import torch
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer

# Some tests fork. The first backward pass decides whether autograd starts a
# thread for each device, and a process with such threads cannot be forked. A
# compilation before it adds a device that is not there.
torch.zeros(1, requires_grad=True).backward()


@pytest.fixture(autouse=True)
def _fixed_seeds():
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(autouse=True, scope='session')
def _metafiles_are_read_once():
    """For a config of a package, mmengine reads all metafiles each time.

    It takes 0.3 s with those of mmpretrain, and the tests load hundreds.
    """
    once = functools.cache(config_utils._get_cfg_metainfo)
    with mock.patch.object(config_utils, '_get_cfg_metainfo', once):
        yield


# A Runner stores its scope, logger, message hub and visualizer globally.
MANAGERS = (DefaultScope, MMLogger, MessageHub, Visualizer)


@contextmanager
def _restored_managers():
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
    """A Runner of a module's fixture must not change other modules."""
    with _restored_managers():
        yield


@pytest.fixture(autouse=True)
def _own_runners():
    """A Runner of a test must not change the default scope of the next."""
    with _restored_managers():
        yield
