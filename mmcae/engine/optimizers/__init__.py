# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Optimizers, their wrappers and constructors."""

from .amp_optim_wrapper import AmpOptimWrapper
from .lars import LARS
from .layer_decay_constructor import LayerDecayOptimWrapperConstructor
from .merged_constructor import MergedOptimWrapperConstructor
from .optim_wrapper import OptimWrapper
from .sweep_constructor import SweepOptimWrapperConstructor

__all__ = [
    'LARS',
    'AmpOptimWrapper',
    'LayerDecayOptimWrapperConstructor',
    'MergedOptimWrapperConstructor',
    'OptimWrapper',
    'SweepOptimWrapperConstructor',
]
