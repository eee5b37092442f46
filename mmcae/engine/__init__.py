# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Training: hooks and optimizers."""

import mmcae.namespace_guard  # noqa: F401

from .hooks import (
    CheckpointHook,
    DataHealthHook,
    IterationSeedHook,
    LossBandHook,
    NonFiniteHook,
    ProbeSummaryHook,
    RuntimeInfoHook,
    SignalHook,
    StallHook,
    SweepAccuracyHook,
    TemperatureHook,
    TokenizerRecordHook,
    TokenStoreHook,
)
from .loops import EpochBasedTrainLoop, IterBasedTrainLoop
from .optimizers import (
    LARS,
    AmpOptimWrapper,
    LayerDecayOptimWrapperConstructor,
    MergedOptimWrapperConstructor,
    OptimWrapper,
    SweepOptimWrapperConstructor,
)
from .schedulers import FullWarmupLR

__all__ = [
    'LARS',
    'AmpOptimWrapper',
    'CheckpointHook',
    'DataHealthHook',
    'EpochBasedTrainLoop',
    'FullWarmupLR',
    'IterBasedTrainLoop',
    'IterationSeedHook',
    'LayerDecayOptimWrapperConstructor',
    'LossBandHook',
    'MergedOptimWrapperConstructor',
    'NonFiniteHook',
    'OptimWrapper',
    'ProbeSummaryHook',
    'RuntimeInfoHook',
    'SignalHook',
    'StallHook',
    'SweepAccuracyHook',
    'SweepOptimWrapperConstructor',
    'TemperatureHook',
    'TokenStoreHook',
    'TokenizerRecordHook',
]
