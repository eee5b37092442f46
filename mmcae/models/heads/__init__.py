# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Heads."""

from .attentive_probe_head import AttentiveProbeHead
from .cae_head import CAEHead

__all__ = ['AttentiveProbeHead', 'CAEHead']
