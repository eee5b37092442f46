# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Figures of images and training curves."""

import io
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure


def paint_masked(
    images: np.ndarray, mask: np.ndarray, gray: float = 0.55
) -> np.ndarray:
    """Paint masked patches gray.

    Args:
        images: RGB in [0, 1], ``(N, H, W, 3)``.
        mask: ``True`` where a patch is masked, ``(N, h, w)``.
        gray: The level of gray, 0 to 1.

    Returns:
        Copies of the images, ``(N, H, W, 3)``.
    """
    rows = images.shape[1] // mask.shape[1]
    columns = images.shape[2] // mask.shape[2]
    masked = mask.repeat(rows, axis=1).repeat(columns, axis=2)
    return np.where(masked[..., None], gray, images)


def hide_patches(
    images: np.ndarray, mask: np.ndarray, color: float = 0.55
) -> np.ndarray:
    """Call `paint_masked`; the former name works until mmcae 0.2."""
    warnings.warn(
        'hide_patches is now called paint_masked; the old name works until '
        'mmcae 0.2.',
        DeprecationWarning,
        stacklevel=2,
    )
    return paint_masked(images, mask, color)


def picture_table(rows: Mapping[str, np.ndarray]) -> Figure:
    """Lay out images in labeled rows.

    Args:
        rows: Label of each row and its images, ``(N, H, W, 3)`` in [0, 1].

    Returns:
        A figure with ``N`` columns.
    """
    count = len(next(iter(rows.values())))
    figure = Figure(figsize=(1.3 + 0.95 * count, 1.0 * len(rows)), dpi=110)
    axes = figure.subplots(len(rows), count, squeeze=False)
    for line, (label, images) in zip(axes, rows.items(), strict=True):
        for axis, image in zip(line, images, strict=True):
            axis.imshow(np.clip(image, 0, 1), interpolation='nearest')
            axis.set_xticks([])
            axis.set_yticks([])
            for spine in axis.spines.values():
                spine.set_visible(False)
        line[0].set_ylabel(
            label, rotation=0, ha='right', va='center', fontsize=9
        )
    figure.tight_layout(pad=0.3, w_pad=0.6)
    return figure


def curves(
    runs: Sequence[Sequence[Mapping[str, float]]],
    panels: Mapping[str, Sequence[str]],
    x: str = 'step',
) -> Figure:
    """Draw logged numbers of several runs side by side.

    Args:
        runs: Log records of each run; a number has the same color in all runs.
        panels: Title of each panel and the numbers to draw in it.
        x: Name of the number on the horizontal axis.

    Returns:
        A figure with one panel for each entry of ``panels``.
    """
    figure = Figure(figsize=(3.3 * len(panels), 2.6), dpi=110)
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, (title, names) in zip(axes, panels.items(), strict=True):
        for color, name in enumerate(names):
            for number, records in enumerate(runs):
                points = [(r[x], r[name]) for r in records if name in r]
                if points:
                    axis.plot(
                        *zip(*points, strict=True),
                        color=f'C{color}',
                        lw=1.2,
                        alpha=1.0 if number == 0 else 0.45,
                        label=name if number == 0 else None,
                    )
        axis.set_title(title, fontsize=9)
        axis.set_xlabel(x, fontsize=8)
        axis.tick_params(labelsize=7)
        axis.grid(alpha=0.25)
        axis.legend(fontsize=7, frameon=False)
    figure.tight_layout(pad=0.5)
    return figure


def to_png(figure: Figure) -> bytes:
    """Render a figure as PNG and return the bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format='png')
    return buffer.getvalue()
