# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Schedules: what mmengine lacks."""

from .full_warmup_lr import FullWarmupLR

__all__ = ['FullWarmupLR']
