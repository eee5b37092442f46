# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Images and their nearest neighbors."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure


def neighbor_sheet(
    rows: Sequence[tuple[np.ndarray, Sequence[tuple[np.ndarray, float]]]],
) -> Figure:
    """Draw one row for each query: the query, then its neighbors.

    Args:
        rows: A query ``(H, W, 3)`` and its neighbors: pictures and cosines.

    Returns:
        The figure, with the cosine above each neighbor.
    """
    columns = 1 + max(len(found) for _, found in rows)
    figure = Figure(figsize=(1.15 * columns + 0.15, 1.32 * len(rows)), dpi=110)
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for line, (query, found) in zip(axes, rows, strict=True):
        for axis in line:
            axis.set_axis_off()
        line[0].imshow(query, interpolation='nearest')
        line[0].set_title('query', fontsize=8, pad=2)
        for axis, (picture, cosine) in zip(line[1:], found, strict=False):
            axis.imshow(picture, interpolation='nearest')
            axis.set_title(f'{cosine:.3f}', fontsize=8, pad=2)
    figure.subplots_adjust(
        0.01, 0.01, 0.99, 1 - 0.2 / (1.32 * len(rows)), 0.06, 0.22
    )
    # A gap between the query and its neighbors.
    for line in axes:
        box = line[0].get_position()
        line[0].set_position(box.translated(-0.005, 0))
    return figure
