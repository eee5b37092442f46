# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Attention inside windows, for large images (as ViTDet, arXiv 2203.16527).

The windows at the lower and right edge are smaller where the grid is no
multiple of the window. That is what padding and masking would compute,
without computing anything for the padding.
"""

from collections.abc import Callable

import torch
from torch import Tensor


def bands(length: int, window: int) -> list[tuple[slice, int]]:
    """Cut an axis into the part of whole windows and the rest.

    Returns:
        One or two pairs: the part of the axis, and its size of a window.
    """
    whole = length - length % window
    parts = [(slice(0, whole), window), (slice(whole, length), length - whole)]
    return [(part, size) for part, size in parts if part.start < part.stop]


def to_windows(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Cut ``(B, H, W, C)`` into ``(B, windows, h * w, C)``, row-major."""
    rows, columns = x.shape[1] // size[0], x.shape[2] // size[1]
    x = x.unflatten(2, (columns, size[1])).unflatten(1, (rows, size[0]))
    return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def from_windows(
    x: Tensor, size: tuple[int, int], shape: tuple[int, int]
) -> Tensor:
    """Undo `to_windows`; ``shape`` is ``(H, W)``."""
    rows, columns = shape[0] // size[0], shape[1] // size[1]
    x = x.unflatten(2, size).unflatten(1, (rows, columns))
    return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def crop_bias(
    bias: Tensor, window: tuple[int, int], size: tuple[int, int]
) -> Tensor:
    """Relative position bias of a smaller window.

    Args:
        bias: ``(heads, 1 + h * w, 1 + h * w)`` of ``window``.
        window: The window that the bias belongs to.
        size: Rows and columns wanted, not more than those of the window.

    Returns:
        The bias of the upper left ``size`` patches and the class token.
    """
    if size == window:
        return bias
    patches = torch.arange(1, bias.shape[-1], device=bias.device)
    patches = patches.unflatten(0, window)[: size[0], : size[1]].flatten()
    kept = torch.cat([patches.new_zeros(1), patches])
    return bias[:, kept][:, :, kept]


def attend_in_windows(
    tokens: Tensor,
    grid: tuple[int, int],
    window: tuple[int, int],
    attend: Callable[[Tensor, tuple[int, int]], Tensor],
) -> Tensor:
    """Apply attention to each window of the patch grid by itself.

    A class token takes part in every window. What it reads there is
    averaged, each window counting by its number of patches; with one window
    that is ordinary attention.

    Args:
        tokens: What attention needs of each token, ``(B, E + L, C)``, with
            ``E`` extra tokens before the ``L`` patches.
        grid: Rows and columns of the patch grid.
        window: Rows and columns of a window.
        attend: Attention within sequences ``(B', E + h * w, C)`` of windows
            of the given size, ``(h, w)``; returns ``(B', E + h * w, D)``.

    Returns:
        Attended tokens in the order of the input, ``(B, E + L, D)``.
    """
    batch, length = tokens.shape[:2]
    num_patches = grid[0] * grid[1]
    num_extra = length - num_patches
    extra, patches = tokens.split([num_extra, num_patches], dim=1)
    patches = patches.unflatten(1, grid)
    extra_outs, lines = [], []
    for rows, height in bands(grid[0], window[0]):
        line = []
        for columns, width in bands(grid[1], window[1]):
            size = height, width
            part = patches[:, rows, columns]
            windows = to_windows(part, size)
            copies = extra[:, None].expand(-1, windows.shape[1], -1, -1)
            windows = torch.cat([copies, windows], dim=2)
            outs = attend(windows.flatten(0, 1), size)
            outs = outs.unflatten(0, (batch, -1))
            share = part.shape[1] * part.shape[2] / num_patches
            extra_outs.append(outs[:, :, :num_extra].mean(dim=1) * share)
            shape = part.shape[1], part.shape[2]
            line.append(from_windows(outs[:, :, num_extra:], size, shape))
        lines.append(torch.cat(line, dim=2))
    attended = torch.cat(lines, dim=1).flatten(1, 2)
    return torch.cat([torch.stack(extra_outs).sum(0), attended], dim=1)
