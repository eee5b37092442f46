# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Fit the tensors of a checkpoint to an encoder of another size or use.

Each function changes a state dict in place and notes what it did for the
report of the load. None of them knows the encoder.
"""

import math
from collections.abc import Mapping, Sequence

from mmpretrain.models.utils import resize_pos_embed
from torch import Tensor

from mmcae.checkpoint.load_report import (
    note_derived,
    note_remark,
    note_renamed,
    note_resized,
)
from mmcae.checkpoint.patch_channels import (
    MAX_CHANNELS,
    adapt_patch_channels,
    describe_adaption,
)

from ..layers import extend_bias_table, num_bias_rows

Grid = tuple[int, int]


def _square_side(num_patches: int, name: str) -> int:
    side = math.isqrt(num_patches)
    if side * side != num_patches:
        raise ValueError(
            f'`{name}` of the checkpoint is for {num_patches} patches, which '
            'do not form a square grid: load it into an encoder of the same '
            'grid'
        )
    return side


def fit_patch_channels(
    state_dict: dict[str, Tensor], name: str, channels: int
) -> None:
    """Adapt the patch embedding to another number of channels.

    Args:
        state_dict: Changed in place.
        name: Name of its weight, ``(D, C, h, w)``; nothing happens if it is
            missing.
        channels: Channels of the encoder's images.
    """
    weight = state_dict.get(name)
    if (
        weight is None
        or weight.ndim != 4
        or weight.shape[1] == channels
        or not 1 <= channels <= MAX_CHANNELS
    ):
        return  # a weight that does not fit is reported by the load
    state_dict[name] = adapt_patch_channels(weight, channels)
    note_resized(name, weight.shape, state_dict[name].shape)
    done = describe_adaption(weight.shape[1], channels)
    note_remark(f'patch embedding: {done}')


def fit_position_table(
    state_dict: dict[str, Tensor],
    name: str,
    grid: Grid,
    num_extra_tokens: int,
    mode: str,
) -> None:
    """Resize a table of positions to another patch grid.

    Args:
        state_dict: Changed in place.
        name: Name of the table, ``(1, num_extra_tokens + L, D)``; nothing
            happens if it is missing.
        grid: Rows and columns of the encoder's grid.
        num_extra_tokens: Tokens before the patches, such as a class token.
        mode: Mode of the interpolation, such as ``'bicubic'``.

    Raises:
        ValueError: If the table's own grid is not square.
    """
    table = state_dict.get(name)
    num_patches = grid[0] * grid[1]
    if table is None or table.shape[1] == num_extra_tokens + num_patches:
        return
    side = _square_side(table.shape[1] - num_extra_tokens, name)
    state_dict[name] = resize_pos_embed(
        table, (side, side), grid, mode, num_extra_tokens
    )
    note_resized(name, table.shape, state_dict[name].shape)


def move_final_norm(
    state_dict: dict[str, Tensor],
    prefix: str,
    has_final: bool,
    has_pooled: bool,
) -> None:
    """Load the final norm into the pooled norm of an encoder without one.

    The authors' fine-tuning does the same (their ``encoder.norm`` becomes
    ``fc_norm``); otherwise the pooled norm would start from ones and zeros.
    Norms that the encoder does not have are dropped.

    Args:
        state_dict: Changed in place.
        prefix: Prefix of the encoder's names.
        has_final: Whether the encoder normalizes its output (``ln1``).
        has_pooled: Whether it normalizes the mean of the patches (``ln2``).
    """
    for leaf in ('weight', 'bias'):
        final, pooled = (f'{prefix}{norm}.{leaf}' for norm in ('ln1', 'ln2'))
        if not has_pooled:
            state_dict.pop(pooled, None)
        if has_final or final not in state_dict:
            continue
        norm = state_dict.pop(final)
        if has_pooled:
            state_dict[pooled] = norm
            note_renamed(final, pooled)


def copy_shared_bias(
    state_dict: dict[str, Tensor], prefix: str, tables: Sequence[str]
) -> None:
    """Copy a bias table that all blocks shared to each block (BEiT's files).

    Args:
        state_dict: Changed in place.
        prefix: Prefix of the encoder's names.
        tables: Names of the blocks' own tables; nothing happens if there
            are none.
    """
    shared = f'{prefix}rel_pos_bias.relative_position_'
    if not tables or f'{shared}bias_table' not in state_dict:
        return
    table = state_dict.pop(f'{shared}bias_table')
    state_dict.pop(f'{shared}index', None)
    for name in tables:
        state_dict[name] = table.clone()
        note_renamed(f'{shared}bias_table', name)


def fit_bias_tables(
    state_dict: dict[str, Tensor], grids: Mapping[str, Grid]
) -> None:
    """Resize tables of relative position biases to other grids.

    Args:
        state_dict: Changed in place.
        grids: Rows and columns wanted, by the table's name. A block that
            attends in windows has a table for its window.

    Raises:
        ValueError: If a table's own grid is not square.
    """
    for name, (rows, columns) in grids.items():
        table = state_dict.get(name)
        if table is None or table.shape[0] == num_bias_rows((rows, columns)):
            continue
        side = (_square_side(table.shape[0] - 3, name) + 1) // 2
        state_dict[name] = extend_bias_table(
            table, (side, side), (rows, columns)
        )
        note_resized(name, table.shape, state_dict[name].shape)


def renew_bias_indices(
    state_dict: dict[str, Tensor], indices: Mapping[str, Tensor]
) -> None:
    """Set the indices into bias tables: pretrained files do not have them.

    Args:
        state_dict: Changed in place.
        indices: The encoder's own indices, by their names.
    """
    for name, index in indices.items():
        state_dict[name] = index
        note_derived(name)
