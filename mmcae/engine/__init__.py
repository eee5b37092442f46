# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Training: hooks and optimizers."""

from .hooks import DataHealthHook, TemperatureHook, TokenizerRecordHook
from .optimizers import (
    AmpOptimWrapper,
    LayerDecayOptimWrapperConstructor,
    MergedOptimWrapperConstructor,
)

__all__ = [
    'AmpOptimWrapper',
    'DataHealthHook',
    'LayerDecayOptimWrapperConstructor',
    'MergedOptimWrapperConstructor',
    'TemperatureHook',
    'TokenizerRecordHook',
]
