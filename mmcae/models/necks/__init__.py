# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Necks: modules between the encoder and the head."""

from .cae_neck import CAENeck
from .feature_pyramid import FeaturePyramid

__all__ = ['CAENeck', 'FeaturePyramid']
