# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Fit the tensors of a checkpoint to an encoder of another size or use.

Each function changes a state dict in place and notes what it did for the
report of the load. None of them knows the encoder.
"""

import math
from collections.abc import Mapping
from typing import Any

from mmpretrain.models.utils import resize_pos_embed
from torch import Tensor

from mmcae.checkpoint.load_report import (
    note_derived,
    note_renamed,
    note_resized,
)

from ..layers import num_bias_rows, spread_bias_table

Grid = tuple[int, int]


def _square_side(num_patches: int, name: str) -> int:
    side = math.isqrt(num_patches)
    if side * side != num_patches:
        raise ValueError(
            f'`{name}` of the checkpoint has {num_patches} patches, which is '
            'no square grid: it can be loaded into the same grid only'
        )
    return side


def fit_position_table(
    state_dict: dict[str, Any],
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
        num_extra_tokens: 1 with a class token, else 0. The row of a class
            token that the encoder does not have is dropped.
        mode: Of the interpolation, such as ``'bicubic'``.

    Raises:
        ValueError: If the table's own grid is not square.
    """
    table: Tensor | None = state_dict.get(name)
    if table is None:
        return
    num_patches = grid[0] * grid[1]
    if not num_extra_tokens and table.shape[1] == num_patches + 1:
        table = table[:, 1:]
    if table.shape[1] != num_extra_tokens + num_patches:
        side = _square_side(table.shape[1] - num_extra_tokens, name)
        table = resize_pos_embed(
            table, (side, side), grid, mode, num_extra_tokens
        )
    if table.shape != state_dict[name].shape:
        note_resized(name, state_dict[name].shape, table.shape)
    state_dict[name] = table


def move_final_norm(
    state_dict: dict[str, Any], prefix: str, has_final: bool, has_pooled: bool
) -> None:
    """Load the final norm into the pooled norm of an encoder without one.

    The authors' fine-tuning does so (their ``encoder.norm`` becomes
    ``fc_norm``); without it the pooled norm would start afresh. Norms that
    the encoder does not have are dropped.

    Args:
        state_dict: Changed in place.
        prefix: Of the encoder's names.
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
    state_dict: dict[str, Any], prefix: str, num_layers: int
) -> None:
    """Give each block its copy of a bias table that the blocks shared.

    Args:
        state_dict: Changed in place.
        prefix: Of the encoder's names.
        num_layers: Number of blocks.
    """
    shared = f'{prefix}rel_pos_bias.relative_position_'
    if f'{shared}bias_table' not in state_dict:
        return
    table = state_dict.pop(f'{shared}bias_table')
    state_dict.pop(f'{shared}index', None)
    for i in range(num_layers):
        name = f'{prefix}layers.{i}.attn.relative_position_bias_table'
        state_dict[name] = table.clone()
        note_renamed(f'{shared}bias_table', name)


def fit_bias_tables(
    state_dict: dict[str, Any], grids: Mapping[str, Grid]
) -> None:
    """Resize tables of relative position biases to other grids.

    Args:
        state_dict: Changed in place.
        grids: Rows and columns that each table is for, by the table's name.
            Blocks that attend in windows have tables of the window.

    Raises:
        ValueError: If a table's own grid is not square.
    """
    for name, (rows, columns) in grids.items():
        table = state_dict.get(name)
        if table is None or table.shape[0] == num_bias_rows((rows, columns)):
            continue
        side = (_square_side(table.shape[0] - 3, name) + 1) // 2
        state_dict[name] = spread_bias_table(
            table, (side, side), (rows, columns)
        )
        note_resized(name, table.shape, state_dict[name].shape)


def renew_bias_indices(
    state_dict: dict[str, Any], indices: Mapping[str, Tensor]
) -> None:
    """Set the indices into bias tables; files of pretraining lack them.

    Args:
        state_dict: Changed in place.
        indices: The encoder's own, by their names.
    """
    for name, index in indices.items():
        state_dict[name] = index
        note_derived(name)
