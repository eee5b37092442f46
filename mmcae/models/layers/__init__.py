# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Small modules and pure functions shared by the models."""

from ..ops import Linear, linear, use_kernels
from .attention import CrossAttention, SelfAttention
from .block import (
    NORM_CFG,
    EncoderBlock,
    RegressorBlock,
    drop_path_rates,
    norm_layer,
)
from .init import (
    check_family,
    init_module_,
    rescale_blocks_,
    trunc_normal_,
)
from .masking import PatchSplit, check_mask, select_tokens, split_patches
from .position import sincos_position
from .relative_position import (
    RelativePositionBias,
    num_bias_rows,
    spread_bias_table,
)

__all__ = [
    'NORM_CFG',
    'CrossAttention',
    'EncoderBlock',
    'Linear',
    'PatchSplit',
    'RegressorBlock',
    'RelativePositionBias',
    'SelfAttention',
    'check_family',
    'check_mask',
    'drop_path_rates',
    'init_module_',
    'linear',
    'norm_layer',
    'num_bias_rows',
    'rescale_blocks_',
    'select_tokens',
    'sincos_position',
    'split_patches',
    'spread_bias_table',
    'trunc_normal_',
    'use_kernels',
]
