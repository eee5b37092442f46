# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Small modules and pure functions shared by the models."""

from mmcae.utils.old_names import old_names

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
    check_weight_init,
    init_module_,
    rescale_blocks_,
    trunc_normal_,
)
from .masking import PatchSplit, check_mask, select_tokens, split_patches
from .position import sincos_position
from .relative_position import extend_bias_table, num_bias_rows

__all__ = [
    'NORM_CFG',
    'CrossAttention',
    'EncoderBlock',
    'Linear',
    'PatchSplit',
    'RegressorBlock',
    'SelfAttention',
    'check_mask',
    'check_weight_init',
    'drop_path_rates',
    'extend_bias_table',
    'init_module_',
    'linear',
    'norm_layer',
    'num_bias_rows',
    'rescale_blocks_',
    'select_tokens',
    'sincos_position',
    'split_patches',
    'trunc_normal_',
    'use_kernels',
]

__getattr__ = old_names(
    __name__,
    {
        'check_family': 'check_weight_init',
        'spread_bias_table': 'extend_bias_table',
    },
)
