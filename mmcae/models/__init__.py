# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Models: encoders, regressor and decoder, heads, losses, tokenizers."""

import mmcae.namespace_guard  # noqa: F401

from .backbones import CAEPretrainViT, CAEViT
from .heads import AttentiveProbeHead, CAEHead, SweepLinearHead
from .losses import CAELoss
from .necks import CAENeck, FeaturePyramid
from .selfsup import CAE, CAEDataPreprocessor
from .target_generators import (
    DVAE,
    DALLEDecoder,
    DALLEEncoder,
    map_pixels,
    unmap_pixels,
)

__all__ = [
    'CAE',
    'DVAE',
    'AttentiveProbeHead',
    'CAEDataPreprocessor',
    'CAEHead',
    'CAELoss',
    'CAENeck',
    'CAEPretrainViT',
    'CAEViT',
    'DALLEDecoder',
    'DALLEEncoder',
    'FeaturePyramid',
    'SweepLinearHead',
    'map_pixels',
    'unmap_pixels',
]
