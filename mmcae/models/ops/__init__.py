# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Operations that choose their kernel: the only files that know a processor.

Everybody else calls them as they would call torch.
"""

from .choice import use_kernels
from .cross_entropy import cross_entropy
from .linear import Linear, gelu_linear, linear

__all__ = ['Linear', 'cross_entropy', 'gelu_linear', 'linear', 'use_kernels']
