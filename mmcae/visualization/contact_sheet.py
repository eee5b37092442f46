# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Rows of pictures and maps with titles and captions."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

# Inches.
_LETTER_WIDTH = 0.062
_TITLE_HEIGHT = 0.3
_GAP = 0.06
_BAR_WIDTH = 0.5
# The side of a panel, by the number of rows.
_SIDES = ((1, 1.75), (4, 1.4), (None, 1.1))
_LINE_HEIGHT = 0.17
_DPI = 110


@dataclass(frozen=True)
class HeatMap:
    """A number for each patch, drawn as a color.

    Attributes:
        values: ``(h, w)``; NaN where there is no number.
        under: A picture ``(H, W, 3)`` in [0, 1] of the same region. It is
            drawn pale and gray where there is no number.
        low: The number at the lower end of the colors.
        high: The number at the upper end.
        colors: Name of a color map of matplotlib.
        label: What the numbers are. If given, a color bar is drawn.
        opacity: 1 covers the picture, 0 shows only the picture.
    """

    values: np.ndarray
    under: np.ndarray | None = None
    low: float = 0.0
    high: float = 1.0
    colors: str = 'viridis'
    label: str = ''
    opacity: float = 1.0


def render_map(heat: HeatMap) -> np.ndarray:
    """Turn a map into a picture.

    Args:
        heat: The map.

    Returns:
        RGB in [0, 1], of the size of the picture under it, else ``(h, w,
        3)``.
    """
    norm = Normalize(heat.low, heat.high, clip=True)
    values = np.asarray(heat.values, dtype=float)
    known = np.isfinite(values)
    colors = colormaps[heat.colors](norm(np.where(known, values, heat.low)))
    colors = colors[..., :3]
    if heat.under is None:
        return np.where(known[..., None], colors, 0.9)
    height, width = heat.under.shape[:2]
    ys = np.arange(height) * values.shape[0] // height
    xs = np.arange(width) * values.shape[1] // width
    gray = heat.under.mean(axis=-1, keepdims=True).repeat(3, axis=-1)
    covered = heat.opacity * colors[ys][:, xs] + (1 - heat.opacity) * gray
    return np.where(known[ys][:, xs][..., None], covered, 0.65 + 0.3 * gray)


def contact_sheet(
    rows: Sequence[Mapping[str, np.ndarray | HeatMap]],
    captions: Sequence[str] = (),
    notes: Sequence[str] = (),
    side: float | None = None,
) -> Figure:
    """Draw rows of panels.

    Args:
        rows: The panels of each row by their title: pictures ``(H, W, 3)``
            in [0, 1], or maps. A title has the same column in all rows.
        captions: A text to the left of each row.
        notes: Sentences below the rows.
        side: Width of a panel in inches. By default it depends on the number
            of rows.

    Returns:
        The figure.

    Raises:
        ValueError: If there is no row.
    """
    if not rows:
        raise ValueError('a contact sheet needs at least one row')
    titles = list(dict.fromkeys(title for row in rows for title in row))
    first = next(iter(rows[0].values()))
    shape = _size(first)
    width = side or next(
        value for most, value in _SIDES if most is None or len(rows) <= most
    )
    height = width * shape[0] / shape[1]
    texts = [_wrapped(caption) for caption in captions]
    longest = max(
        (len(t) for text in texts for t in text.split('\n')), default=0
    )
    left = 0.2 + _LETTER_WIDTH * longest if longest else _GAP
    bars = _bars(rows)
    right = _BAR_WIDTH if bars else _GAP
    total_width = left + len(titles) * (width + _GAP) + right
    lines = [
        line
        for note in notes
        for line in textwrap.wrap(f'Note: {note}.', int(total_width * 13))
    ]
    bottom = _GAP + _LINE_HEIGHT * len(lines)
    total_height = _TITLE_HEIGHT + len(rows) * (height + _GAP) + bottom
    figure = Figure(figsize=(total_width, total_height), dpi=_DPI)
    for number, row in enumerate(rows):
        y = total_height - _TITLE_HEIGHT - (number + 1) * (height + _GAP)
        for column, title in enumerate(titles):
            if title not in row:
                continue
            x = left + column * (width + _GAP)
            axis = figure.add_axes(
                (
                    x / total_width,
                    (y + _GAP) / total_height,
                    width / total_width,
                    height / total_height,
                )
            )
            _draw(axis, row[title])
            if number == 0:
                axis.set_title(title, fontsize=9, pad=4)
        if number < len(texts):
            figure.text(
                (left - 0.1) / total_width,
                (y + _GAP + height / 2) / total_height,
                texts[number],
                ha='right',
                va='center',
                fontsize=8,
            )
    for number, line in enumerate(lines):
        figure.text(
            _GAP / total_width,
            (bottom - _LINE_HEIGHT * (number + 1)) / total_height,
            line,
            fontsize=8,
            color='0.3',
        )
    if bars:
        _color_bar(
            figure,
            bars[0],
            (total_width - right + 0.02) / total_width,
            (total_height - _TITLE_HEIGHT - height) / total_height,
            0.09 / total_width,
            height / total_height,
        )
    return figure


def _bars(rows: Sequence[Mapping[str, np.ndarray | HeatMap]]) -> list[HeatMap]:
    return [
        panel
        for panel in rows[-1].values()
        if isinstance(panel, HeatMap) and panel.label
    ]


def _size(panel: np.ndarray | HeatMap) -> tuple[int, int]:
    if isinstance(panel, HeatMap):
        panel = panel.values if panel.under is None else panel.under
    return panel.shape[0], panel.shape[1]


def _draw(axis, panel: np.ndarray | HeatMap) -> None:  # type: ignore
    picture = render_map(panel) if isinstance(panel, HeatMap) else panel
    axis.imshow(np.clip(picture, 0, 1), interpolation='nearest', aspect='auto')
    axis.set_axis_off()


def _wrapped(caption: str) -> str:
    """Break long lines, such as names of files, and shorten very long ones."""
    lines = []
    for line in caption.splitlines():
        parts = textwrap.wrap(line, 26, break_long_words=True)
        lines += [*parts[:2], '...'] if len(parts) > 3 else parts
    return '\n'.join(lines)


def _color_bar(figure, heat: HeatMap, x, y, width, height) -> None:  # type: ignore
    axis = figure.add_axes((x, y, width, height))
    ramp = np.linspace(1, 0, 128)[:, None]
    axis.imshow(ramp, cmap=heat.colors, aspect='auto', extent=(0, 1, 0, 1))
    axis.set_xticks([])
    axis.yaxis.tick_right()
    axis.set_yticks([0, 1], [f'{heat.low:g}', f'{heat.high:g}'], fontsize=7)
    axis.yaxis.set_label_position('right')
    axis.set_ylabel(heat.label, fontsize=7, labelpad=-4)
