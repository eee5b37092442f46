# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Settings that every test shares: one thread, fixed seeds."""

import os

# Before torch is imported: small tensors are faster on one thread, and the
# sums have one order.
os.environ.setdefault('OMP_NUM_THREADS', '1')
os.environ.setdefault('KMP_AFFINITY', 'disabled')

import random

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope


@pytest.fixture(autouse=True)
def _fixed_seeds():
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _own_default_scope():
    """A Runner built in one test must not decide the scope of the next."""
    before = DefaultScope._instance_dict.copy()
    yield
    DefaultScope._instance_dict.clear()
    DefaultScope._instance_dict.update(before)
