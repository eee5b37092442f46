# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Heads: losses of pretraining, classifiers of probes."""

from .attentive_probe_head import AttentiveProbeHead
from .cae_head import CAEHead
from .sweep_linear_head import SweepLinearHead

__all__ = ['AttentiveProbeHead', 'CAEHead', 'SweepLinearHead']
