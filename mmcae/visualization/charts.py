# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Line charts as SVG, in the colors of the page around them."""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

_WIDTH, _HEIGHT = 340, 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 8, 24, 22
#: Told apart also by those who see few colors (Okabe and Ito).
COLORS = ('#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9')
DASHES = ('', '5 3', '2 2', '8 3 2 3')
_MOST_POINTS = 400


@dataclass
class Series:
    """A line of a chart.

    Attributes:
        label: For the legend.
        points: ``(x, y)`` in the order of x; y that is not finite is a gap.
        color: Index into `COLORS`; it starts again at the end.
        dash: Index into `DASHES`.
    """

    label: str
    points: Sequence[tuple[float, float]]
    color: int = 0
    dash: int = 0


@dataclass
class Area:
    """A gray area behind the lines of a chart.

    Attributes:
        label: For the legend.
        points: ``(x, low, high)`` in the order of x.
    """

    label: str
    points: Sequence[tuple[float, float, float]]


def line_chart(
    title: str,
    series: Sequence[Series],
    x_label: str,
    area: Area | None = None,
) -> str:
    """Draw lines as an ``svg`` element.

    Args:
        title: Above the chart.
        series: The lines; those without a finite point are left out.
        x_label: Below the chart.
        area: What to draw behind the lines, as far as they reach.

    Returns:
        The element, or an empty text if there is nothing to draw. Text and
        axes have the color of the page (``currentColor``).
    """
    lines = [(line, _finite(line.points)) for line in series]
    lines = [(line, points) for line, points in lines if points]
    if not lines:
        return ''
    xs = [x for _, points in lines for x, _ in points]
    ys = [y for _, points in lines for _, y in points]
    left, right = min(xs), max(xs)
    behind = _cut(area.points, left, right) if area is not None else []
    ys += [y for _, low, high in behind for y in (low, high)]
    ticks = nice_ticks(min(ys), max(ys))
    low, high = min(ticks[0], min(ys)), max(ticks[-1], max(ys))

    def place(x: float, y: float) -> str:
        across = (x - left) / ((right - left) or 1)
        up = (y - low) / ((high - low) or 1)
        return (
            f'{_LEFT + across * (_WIDTH - _LEFT - _RIGHT):.1f},'
            f'{_HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM):.1f}'
        )

    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{html.escape(title)}">',
        f'<text x="{_LEFT}" y="14" class="title">{html.escape(title)}</text>',
    ]
    for tick in ticks:
        x, y = place(left, tick).split(',')
        parts.append(
            f'<line class="grid" x1="{x}" x2="{_WIDTH - _RIGHT}" y1="{y}" '
            f'y2="{y}"/><text class="tick" x="{_LEFT - 5}" y="{y}" '
            f'dy="3.5" text-anchor="end">{number(tick)}</text>'
        )
    parts.append(
        f'<text class="tick" x="{_LEFT}" y="{_HEIGHT - 6}">{number(left)}'
        f'</text><text class="tick" x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 6}" '
        f'text-anchor="end">{html.escape(x_label)} {number(right)}</text>'
    )
    if behind:
        outline = [(x, high) for x, _, high in behind]
        outline += [(x, low) for x, low, _ in reversed(behind)]
        path = ' '.join(place(x, y) for x, y in outline)
        parts.append(f'<polygon class="area" points="{path}"/>')
    for line, points in lines:
        path = ' '.join(place(x, y) for x, y in _thinned(points))
        color = COLORS[line.color % len(COLORS)]
        dash = DASHES[line.dash % len(DASHES)]
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{color}" '
            f'stroke-width="1.6" stroke-dasharray="{dash}"/>'
        )
    parts.append('</svg>')
    shown = area if behind else None
    return ''.join(parts) + _legend([line for line, _ in lines], shown)


def nice_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers that cover a range, at most ``most`` of them.

    Args:
        low: The smallest value.
        high: The largest value; may equal ``low``.
        most: How many ticks.
    """
    if high <= low:
        high = low + (abs(low) or 1)
    step = 10.0 ** math.floor(math.log10((high - low) / most))
    for factor in (1, 2, 5, 10, 20, 50):
        first = math.floor(low / (factor * step))
        last = math.ceil(high / (factor * step))
        if last - first < most:
            break
    return [round(i * factor * step, 12) for i in range(first, last + 1)]


def number(value: float) -> str:
    """A number in few characters, such as ``12k`` or ``1.5e-4``."""
    if value == 0:
        return '0'
    size = abs(value)
    for factor, unit in ((1e9, 'G'), (1e6, 'M'), (1e4, 'k')):
        if size >= factor:
            divisor = 1e3 if unit == 'k' else factor
            return f'{value / divisor:.4g}{unit}'
    if size < 1e-3:
        return f'{value:.2g}'.replace('e-0', 'e-')
    return f'{value:.4g}'


def _finite(
    points: Sequence[tuple[float, float]],
) -> list[tuple[float, float]]:
    return [(x, y) for x, y in points if math.isfinite(y)]


def _thinned(
    points: list[tuple[float, float]],
) -> list[tuple[float, float]]:
    step = max(1, len(points) // _MOST_POINTS)
    return points[::step] + ([points[-1]] if (len(points) - 1) % step else [])


def _cut(
    points: Sequence[tuple[float, float, float]], left: float, right: float
) -> list[tuple[float, float, float]]:
    """The part of an area between two x, with ends by interpolation."""
    if not points or points[-1][0] <= left or points[0][0] >= right:
        return []

    def at(x: float) -> tuple[float, float, float]:
        after = next(i for i, p in enumerate(points) if p[0] >= x)
        (x0, *before), (x1, *behind) = points[max(after - 1, 0)], points[after]
        share = (x - x0) / ((x1 - x0) or 1)
        low, high = (
            a + share * (b - a) for a, b in zip(before, behind, strict=True)
        )
        return x, low, high

    start, end = max(left, points[0][0]), min(right, points[-1][0])
    return [at(start), *(p for p in points if start < p[0] < end), at(end)]


def _legend(lines: Sequence[Series], area: Area | None) -> str:
    if len(lines) == 1 and not lines[0].label and area is None:
        return ''
    entries = ''.join(
        f'<span><svg viewBox="0 0 22 6" class="key"><line x1="0" x2="22" '
        f'y1="3" y2="3" stroke="{COLORS[line.color % len(COLORS)]}" '
        f'stroke-width="2" stroke-dasharray="{DASHES[line.dash % 4]}"/></svg> '
        f'{html.escape(line.label)}</span>'
        for line in lines
        if line.label
    )
    if area is not None:
        entries += (
            '<span><svg viewBox="0 0 22 6" class="key"><rect class="area" '
            f'width="22" height="6"/></svg> {html.escape(area.label)}</span>'
        )
    return f'<div class="legend">{entries}</div>'
