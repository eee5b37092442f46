# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Losses."""

from .cae_loss import CAELoss

__all__ = ['CAELoss']
