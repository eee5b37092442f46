# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""What stands between the encoder and the loss."""

from .cae_neck import CAENeck
from .feature_pyramid import FeaturePyramid

__all__ = ['CAENeck', 'FeaturePyramid']
