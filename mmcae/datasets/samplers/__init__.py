# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Samplers."""

from .seeded_infinite_sampler import SeededInfiniteSampler
from .seeded_sampler import SeededSampler

__all__ = ['SeededInfiniteSampler', 'SeededSampler']
