# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Images, and maps of colors below them."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from .contact_sheet import contact_sheet


def pair_sheet(
    images: Sequence[np.ndarray],
    colors: Sequence[np.ndarray],
    names: Sequence[str] = (),
    columns: int = 8,
) -> Figure:
    """Draw images in rows, with a map of colors below each of them.

    Args:
        images: RGB in [0, 1], each ``(H, W, 3)``.
        colors: RGB in [0, 1], each ``(h, w, 3)``. NaN is drawn as the image,
            pale and gray.
        names: Names of the images, drawn if one row holds all images.
        columns: Images in a row.

    Returns:
        The figure.

    Raises:
        ValueError: If ``columns`` is not positive, or there is no image.
    """
    if columns < 1:
        raise ValueError(f'columns must be positive, got {columns}')
    rows, captions = [], []
    # Titles must differ, because equal ones would be one column.
    if len(images) <= columns and len(names) == len(images):
        short = [name if len(name) < 17 else f'{name[:14]}…' for name in names]
        titles = [t + ' ' * short[:i].count(t) for i, t in enumerate(short)]
    else:
        titles = [' ' * (i + 1) for i in range(min(columns, len(images)))]
    for start in range(0, len(images), columns):
        part = slice(start, start + columns)
        below = [
            _over(image, color)
            for image, color in zip(images[part], colors[part], strict=True)
        ]
        rows.append(dict(zip(titles, images[part], strict=False)))
        rows.append(dict(zip(titles, below, strict=False)))
        captions += ['image', 'components']
    return contact_sheet(rows, captions, side=1.25)


def _over(image: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """Enlarge a map of colors to the size of the image under it."""
    height, width = image.shape[:2]
    ys = np.arange(height) * colors.shape[0] // height
    xs = np.arange(width) * colors.shape[1] // width
    large = colors[ys][:, xs]
    gray = image.mean(axis=-1, keepdims=True).repeat(3, axis=-1)
    return np.where(np.isfinite(large), large, 0.65 + 0.3 * gray)
