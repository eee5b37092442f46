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


@pytest.fixture(autouse=True)
def _fixed_seeds():
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
