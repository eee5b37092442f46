# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Training: hooks and optimizers."""

import mmcae.namespace_guard  # noqa: F401

from .hooks import (
    DataHealthHook,
    IterationSeedHook,
    ProbeSummaryHook,
    RuntimeInfoHook,
    SweepAccuracyHook,
    TemperatureHook,
    TokenizerRecordHook,
    TokenStoreHook,
)
from .optimizers import (
    LARS,
    AmpOptimWrapper,
    LayerDecayOptimWrapperConstructor,
    MergedOptimWrapperConstructor,
    SweepOptimWrapperConstructor,
)
from .schedulers import FullWarmupLR

__all__ = [
    'LARS',
    'AmpOptimWrapper',
    'DataHealthHook',
    'FullWarmupLR',
    'IterationSeedHook',
    'LayerDecayOptimWrapperConstructor',
    'MergedOptimWrapperConstructor',
    'ProbeSummaryHook',
    'RuntimeInfoHook',
    'SweepAccuracyHook',
    'SweepOptimWrapperConstructor',
    'TemperatureHook',
    'TokenStoreHook',
    'TokenizerRecordHook',
]
