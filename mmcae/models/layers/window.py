# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Attention inside windows, for large images (as ViTDet, arXiv 2203.16527).

Where the grid is not a multiple of the window, the windows at the lower and
right edge are smaller. The result is the same as with padded and masked
windows, but nothing is computed for the padding.
"""

from collections.abc import Callable

import torch
from torch import Tensor


def split_axis(length: int, window: int) -> list[tuple[slice, int]]:
    """Split an axis into the part that whole windows fill, and the rest.

    Args:
        length: Number of patches along the axis.
        window: Side of a window.

    Returns:
        One or two pairs: a part of the axis, and the side of its windows.
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
    """Crop a relative position bias to a smaller window.

    Args:
        bias: Bias of ``window``, ``(heads, 1 + h * w, 1 + h * w)``.
        window: Rows and columns of the window that the bias is for.
        size: Rows and columns wanted, at most those of ``window``.

    Returns:
        The bias of the upper left ``size`` patches and the class token.
    """
    if size == window:
        return bias
    patches = torch.arange(1, bias.shape[-1], device=bias.device)
    patches = patches.unflatten(0, window)[: size[0], : size[1]].flatten()
    kept = torch.cat([patches.new_zeros(1), patches])
    return bias[:, kept][:, :, kept]


def apply_to_windows(
    window_fn: Callable[[Tensor, tuple[int, int]], Tensor],
    tokens: Tensor,
    grid: tuple[int, int],
    window_size: tuple[int, int],
) -> Tensor:
    """Apply attention to each window of the patch grid separately.

    The class token takes part in every window. Its outputs are averaged,
    weighted by the number of patches of each window; with a single window
    that is ordinary attention.

    Args:
        window_fn: Attention within windows. Takes their tokens
            ``(B', E + h * w, C)`` and their size ``(h, w)``, and returns
            ``(B', E + h * w, D)``.
        tokens: Input of the attention, ``(B, E + L, C)``, with ``E`` extra
            tokens before the ``L`` patches.
        grid: Rows and columns of the patch grid.
        window_size: Rows and columns of a window.

    Returns:
        Tokens in the order of the input, ``(B, E + L, D)``.
    """
    batch, length = tokens.shape[:2]
    num_patches = grid[0] * grid[1]
    num_extra = length - num_patches
    extra, patches = tokens.split([num_extra, num_patches], dim=1)
    patches = patches.unflatten(1, grid)
    extra_outs, lines = [], []
    for rows, height in split_axis(grid[0], window_size[0]):
        line = []
        for columns, width in split_axis(grid[1], window_size[1]):
            size = height, width
            part = patches[:, rows, columns]
            windows = to_windows(part, size)
            copies = extra[:, None].expand(-1, windows.shape[1], -1, -1)
            windows = torch.cat([copies, windows], dim=2)
            outs = window_fn(windows.flatten(0, 1), size)
            outs = outs.unflatten(0, (batch, -1))
            share = part.shape[1] * part.shape[2] / num_patches
            extra_outs.append(outs[:, :, :num_extra].mean(dim=1) * share)
            shape = part.shape[1], part.shape[2]
            line.append(from_windows(outs[:, :, num_extra:], size, shape))
        lines.append(torch.cat(line, dim=2))
    attended = torch.cat(lines, dim=1).flatten(1, 2)
    return torch.cat([torch.stack(extra_outs).sum(0), attended], dim=1)
