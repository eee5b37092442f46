# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Panels of attention maps."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from .contact_sheet import HeatMap

_FRAME = (0.0, 1.0, 1.0)
# The frame is an eighth of a patch wide, so small patches are enlarged.
_SMALLEST_PATCH = 24


def attention_panels(
    image: np.ndarray,
    maps: Mapping[str, np.ndarray],
    patch: tuple[int, int] | None = None,
) -> dict[str, Any]:
    """Make a row of a contact sheet.

    Each map has its own scale, from 0 to its largest weight, because weights
    become smaller with the number of patches.

    Args:
        image: RGB in [0, 1], ``(H, W, 3)``.
        maps: Title and weights ``(h, w)`` of each map.
        patch: Row and column of the patch that looks; it gets a frame.

    Returns:
        Titles and panels.
    """
    first = image
    if patch is not None:
        grid = next(iter(maps.values())).shape
        first = frame_patch(image, grid, patch)
    panels: dict[str, Any] = {'image': first}
    for title, values in maps.items():
        high = max(float(np.max(values)), 1e-12)
        panels[title] = HeatMap(values, image, 0, high, 'inferno', opacity=0.7)
    return panels


def frame_patch(
    image: np.ndarray, grid: tuple[int, ...], patch: tuple[int, int]
) -> np.ndarray:
    """Draw a frame around a patch.

    Args:
        image: RGB in [0, 1], ``(H, W, 3)``.
        grid: Rows and columns of the patch grid.
        patch: Row and column of the patch.

    Returns:
        A copy of the image, enlarged if its patches are small.
    """
    side = min(image.shape[axis] // grid[axis] for axis in range(2))
    factor = -(-_SMALLEST_PATCH // side)
    framed = image.repeat(factor, axis=0).repeat(factor, axis=1)
    height, width = (framed.shape[axis] // grid[axis] for axis in range(2))
    top, left = patch[0] * height, patch[1] * width
    line = min(height, width) // 8
    part = framed[top : top + height, left : left + width]
    inner = part[line:-line, line:-line].copy()
    part[:] = _FRAME
    part[line:-line, line:-line] = inner
    return framed
