# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Relative position bias with a class token (BEiT, arXiv 2106.08254)."""

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from scipy.interpolate import RectBivariateSpline
from scipy.optimize import brentq
from torch import Tensor, nn


def relative_position_index(
    window: tuple[int, int], device: torch.device | None = None
) -> Tensor:
    """Rows of the bias table for each pair of tokens.

    A table for a window of ``h x w`` patches has ``(2h-1)(2w-1)`` rows for
    patch pairs, then one row each for class-to-patch, patch-to-class and
    class-to-class.

    Args:
        window: Rows and columns of the patch grid.
        device: Where the result is wanted.

    Returns:
        Table rows, int64, ``(1 + h * w, 1 + h * w)``; the class token is
        token 0.
    """
    h, w = window
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


def resize_bias_table(
    table: Tensor, window: tuple[int, int], target: tuple[int, int]
) -> Tensor:
    """Interpolate a bias table to the offsets of another window.

    Args:
        table: ``((2h-1)(2w-1) + 3, num_heads)`` of ``window``.
        window: The grid that the table belongs to.
        target: The grid wanted.

    Returns:
        The table of ``target``, differentiable; the three rows of the class
        token are kept.
    """
    shape = [2 * n - 1 for n in window]
    pairs = table[:-3].T.reshape(1, -1, *shape)
    pairs = F.interpolate(
        pairs.float(), size=[2 * n - 1 for n in target], mode='bicubic'
    )
    pairs = pairs.flatten(2)[0].T.to(table.dtype)
    return torch.cat([pairs, table[-3:]])


def geometric_offsets(size: int, target: int) -> np.ndarray:
    """Places of ``2 size - 1`` offsets on an axis of ``2 target - 1``.

    Near offsets stay dense and far ones spread in geometric progression, so
    that the outermost offsets of both windows meet (BEiT's scheme).
    """
    if size == target or size == 1:
        return np.arange(1.0 - size, size)

    def reach(ratio: float) -> float:
        return float((ratio ** np.arange(size - 1)).sum()) - (target - 1)

    ratio = brentq(reach, 1e-3, float(max(target, 2)))
    steps = np.cumsum(ratio ** np.arange(size - 1))
    return np.concatenate([-steps[::-1], [0.0], steps])


def spread_bias_table(
    table: Tensor, window: tuple[int, int], target: tuple[int, int]
) -> Tensor:
    """Carry a trained bias table over to another window (once, at loading).

    Unlike `resize_bias_table` it keeps what was learnt for near neighbours:
    BEiT's geometric progression with cubic interpolation.

    Args:
        table: ``((2h-1)(2w-1) + 3, num_heads)`` of ``window``.
        window: The grid that the table belongs to.
        target: The grid wanted.

    Returns:
        The table of ``target``; the rows of the class token are kept.
    """
    if min(*window, *target) < 3:  # too few offsets for a progression
        return resize_bias_table(table, window, target)
    axes = [
        geometric_offsets(*pair) for pair in zip(window, target, strict=True)
    ]
    wanted = [np.arange(1.0 - n, n) for n in target]
    pairs = table[:-3].T.reshape(-1, *(2 * n - 1 for n in window))
    spread = [
        RectBivariateSpline(*axes, head.double().numpy(), s=0)(*wanted)
        for head in pairs.cpu()
    ]
    pairs = torch.from_numpy(np.stack(spread)).flatten(1).T.to(table)
    return torch.cat([pairs, table[-3:]])


class RelativePositionBias(BaseModule):
    """A learned bias for each pair of relative positions and each head.

    Args:
        window_size: Rows and columns of the patch grid.
        num_heads: Number of attention heads.
        init_cfg: Initialization config of mmengine. Defaults to None.
    """

    def __init__(
        self,
        window_size: tuple[int, int],
        num_heads: int,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        add_relative_position(self, window_size, num_heads)

    def forward(self, grid: tuple[int, int] | None = None) -> Tensor:
        """Return the bias ``(num_heads, N, N)`` for ``N = 1 + h * w``."""
        return relative_position_bias(self, grid)


def num_bias_rows(window: tuple[int, int]) -> int:
    """Rows of the bias table of a window: offsets, and three for the class.

    Args:
        window: Rows and columns of the patch grid.
    """
    return (2 * window[0] - 1) * (2 * window[1] - 1) + 3


def add_relative_position(
    module: nn.Module, window_size: tuple[int, int], num_heads: int
) -> None:
    """Give a module the table and the index under OpenMMLab's names.

    The table starts at zero, as in the authors' fine-tuning (mmpretrain
    draws it from a normal distribution).
    """
    module.window_size = tuple(window_size)  # type: ignore[assignment]
    module.relative_position_bias_table = nn.Parameter(
        torch.zeros(num_bias_rows(window_size), num_heads)
    )
    module.register_buffer(
        'relative_position_index', relative_position_index(window_size)
    )


def relative_position_bias(
    module: nn.Module, grid: tuple[int, int] | None = None
) -> Tensor:
    """Look up the bias of a module made by `add_relative_position`.

    Args:
        module: The owner of the table.
        grid: Grid of the input; another grid than the table's interpolates
            it. Defaults to the table's own.

    Returns:
        The bias, ``(num_heads, N, N)`` with ``N = 1 + h * w``.
    """
    table: Tensor = module.relative_position_bias_table  # type: ignore
    index: Tensor = module.relative_position_index  # type: ignore
    window: tuple[int, int] = module.window_size  # type: ignore
    if grid is not None and tuple(grid) != window:
        table = resize_bias_table(table, window, grid)
        index = relative_position_index(grid, table.device)
    size = index.shape[0]
    return table[index.flatten()].view(size, size, -1).permute(2, 0, 1)
