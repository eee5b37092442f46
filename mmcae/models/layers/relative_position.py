# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Relative position bias with a class token (BEiT, arXiv 2106.08254)."""

import numpy as np
import torch
import torch.nn.functional as F
from scipy.interpolate import RectBivariateSpline
from scipy.optimize import brentq
from torch import Tensor

from mmcae.utils.old_names import old_names


def num_bias_rows(grid: tuple[int, int]) -> int:
    """Count the rows of a bias table: offsets, and three for the class token.

    Args:
        grid: Rows and columns of the patch grid.
    """
    return (2 * grid[0] - 1) * (2 * grid[1] - 1) + 3


def relative_position_index(
    grid: tuple[int, int], device: torch.device | None = None
) -> Tensor:
    """Find the row of the bias table for each pair of tokens.

    A table for ``h x w`` patches has ``(2h-1)(2w-1)`` rows for pairs of
    patches, then one row each for class-to-patch, patch-to-class and
    class-to-class.

    Args:
        grid: Rows and columns of the patch grid.
        device: Device of the result.

    Returns:
        Table rows, int64, ``(1 + h * w, 1 + h * w)``; the class token is
        token 0.
    """
    h, w = grid
    rows = torch.arange(h, device=device).repeat_interleave(w)
    columns = torch.arange(w, device=device).repeat(h)
    delta_row = rows[:, None] - rows[None] + h - 1
    delta_column = columns[:, None] - columns[None] + w - 1
    num_pairs = (2 * h - 1) * (2 * w - 1)
    index = rows.new_empty(h * w + 1, h * w + 1)
    index[1:, 1:] = delta_row * (2 * w - 1) + delta_column
    index[0, 1:] = num_pairs
    index[1:, 0] = num_pairs + 1
    index[0, 0] = num_pairs + 2
    return index


def interpolate_bias_table(
    table: Tensor, grid: tuple[int, int], target: tuple[int, int]
) -> Tensor:
    """Interpolate a bias table to another grid (in each forward pass).

    Args:
        table: Table of ``grid``, ``((2h-1)(2w-1) + 3, num_heads)``.
        grid: The patch grid that the table is for.
        target: The patch grid wanted.

    Returns:
        The table of ``target``, differentiable; the three rows of the class
        token are kept.
    """
    shape = [2 * n - 1 for n in grid]
    pairs = table[:-3].T.reshape(1, -1, *shape)
    pairs = F.interpolate(
        pairs.float(), size=[2 * n - 1 for n in target], mode='bicubic'
    )
    pairs = pairs.flatten(2)[0].T.to(table.dtype)
    return torch.cat([pairs, table[-3:]])


def geometric_offsets(size: int, target: int) -> np.ndarray:
    """Positions of ``2 size - 1`` offsets on an axis of ``2 target - 1``.

    The steps between offsets grow geometrically with the distance, so that
    the outermost offsets of both grids coincide (BEiT's scheme).
    """
    if size == target or size == 1:
        return np.arange(1.0 - size, size)

    def reach(ratio: float) -> float:
        return float((ratio ** np.arange(size - 1)).sum()) - (target - 1)

    ratio = brentq(reach, 1e-3, float(max(target, 2)))
    steps = np.cumsum(ratio ** np.arange(size - 1))
    return np.concatenate([-steps[::-1], [0.0], steps])


def extend_bias_table(
    table: Tensor, grid: tuple[int, int], target: tuple[int, int]
) -> Tensor:
    """Extend a trained bias table to another grid (once, at loading).

    Unlike `interpolate_bias_table` it keeps the biases of near neighbors
    nearly unchanged: BEiT's geometric progression with cubic interpolation.

    Args:
        table: Table of ``grid``, ``((2h-1)(2w-1) + 3, num_heads)``.
        grid: The patch grid that the table is for.
        target: The patch grid wanted.

    Returns:
        The table of ``target``; the rows of the class token are kept.
    """
    if min(*grid, *target) < 3:  # too few offsets for a progression
        return interpolate_bias_table(table, grid, target)
    axes = [
        geometric_offsets(*pair) for pair in zip(grid, target, strict=True)
    ]
    wanted = [np.arange(1.0 - n, n) for n in target]
    pairs = table[:-3].T.reshape(-1, *(2 * n - 1 for n in grid))
    spread = [
        RectBivariateSpline(*axes, head.double().numpy(), s=0)(*wanted)
        for head in pairs.cpu()
    ]
    pairs = torch.from_numpy(np.stack(spread)).flatten(1).T.to(table)
    return torch.cat([pairs, table[-3:]])


__getattr__ = old_names(
    __name__,
    {
        'resize_bias_table': 'interpolate_bias_table',
        'spread_bias_table': 'extend_bias_table',
    },
)
