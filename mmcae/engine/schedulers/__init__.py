# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Learning-rate schedules that mmengine does not have."""

from .full_warmup_lr import FullWarmupLR

__all__ = ['FullWarmupLR']
