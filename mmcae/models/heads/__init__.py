# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Heads."""

from .cae_head import CAEHead

__all__ = ['CAEHead']
