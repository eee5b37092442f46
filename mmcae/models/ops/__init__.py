# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Operations that choose their kernel by device, precision and length.

Only this package distinguishes processors. All others call its functions as
they would call torch's.
"""

from .attention import attention
from .choice import use_kernels
from .conv import conv2d_relu
from .cross_entropy import cross_entropy
from .linear import Linear, activated_linear, linear

__all__ = [
    'Linear',
    'activated_linear',
    'attention',
    'conv2d_relu',
    'cross_entropy',
    'linear',
    'use_kernels',
]
