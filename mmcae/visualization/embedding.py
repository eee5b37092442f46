# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Thumbnails at positions in the plane: a web page, or a figure."""

import base64
import html
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from PIL import Image

_THUMBNAIL = 56  # pixels
_GRAY = '#888888'
_LEGEND_COLUMNS = 5

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>__TITLE__</title><style>
:root { color-scheme: light dark; --back: #fff; --text: #222; --line: #ccc; }
@media (prefers-color-scheme: dark) {
  :root { --back: #16181c; --text: #e6e6e6; --line: #444; } }
body { margin: 0; background: var(--back); color: var(--text);
  font: 14px/1.4 system-ui, sans-serif; }
header { padding: .6em 1em; border-bottom: 1px solid var(--line); }
header b { margin-right: 1em; }
button { font: inherit; color: inherit; background: none; cursor: pointer;
  border: 0; padding: .1em .5em; }
button i { display: inline-block; width: .8em; height: .8em;
  margin-right: .3em; border-radius: 50%; }
button.off { opacity: .35; }
svg { display: block; width: 100vw; height: calc(100vh - 5.5em);
  cursor: grab; touch-action: none; }
#about { position: fixed; right: 1em; bottom: 1em; max-width: 40vw;
  background: var(--back); border: 1px solid var(--line); padding: .5em;
  display: none; }
#about img { width: 168px; image-rendering: pixelated; display: block; }
</style>
<header><b>__TITLE__</b><span>__NOTE__</span>
<span id="legend"></span></header>
<svg id="map" role="img" aria-label="__TITLE__"></svg>
<div id="about"><img alt=""><span></span></div>
<script>
const items = __ITEMS__, groups = __GROUPS__;
const svg = document.getElementById('map'), off = new Set();
const about = document.getElementById('about');
const make = (name, on, more) => {
  const node = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const key in more) node.setAttribute(key, more[key]);
  return on.appendChild(node);
};
let x = -0.05, y = -0.05, span = 1.1;
const nodes = items.map(item => {
  const node = make('g', svg, {});
  make('rect', node, {fill: groups[item.group].color});
  make('image', node, {href: item.data});
  node.onmouseenter = () => {
    about.style.display = 'block';
    about.firstChild.src = item.data;
    about.lastChild.textContent = item.label;
  };
  node.onmouseleave = () => { about.style.display = 'none'; };
  return node;
});
const draw = () => {
  const w = svg.clientWidth, h = svg.clientHeight, unit = Math.min(w, h);
  svg.setAttribute('viewBox', `0 0 ${w} ${h}`);
  const side = Math.max(14, Math.min(96,
    1.1 * unit / Math.sqrt(items.length) / Math.sqrt(span)));
  items.forEach((item, i) => {
    const px = (item.x - x) / span * unit + (w - unit) / 2;
    const py = (item.y - y) / span * unit + (h - unit) / 2;
    const [rect, image] = nodes[i].children;
    const rim = side > 20 ? 2 : 1;
    const set = (node, s) => {
      node.setAttribute('x', px - s / 2); node.setAttribute('y', py - s / 2);
      node.setAttribute('width', s); node.setAttribute('height', s);
    };
    set(rect, side + 2 * rim); set(image, side);
    nodes[i].style.display = off.has(item.group) ? 'none' : '';
  });
};
svg.onwheel = event => {
  event.preventDefault();
  const w = svg.clientWidth, h = svg.clientHeight, unit = Math.min(w, h);
  const fx = (event.offsetX - (w - unit) / 2) / unit;
  const fy = (event.offsetY - (h - unit) / 2) / unit;
  const next = Math.min(3, Math.max(0.02,
    span * (event.deltaY > 0 ? 1.2 : 1 / 1.2)));
  x += fx * (span - next); y += fy * (span - next); span = next; draw();
};
svg.onpointermove = event => {
  if (!event.buttons) return;
  const unit = Math.min(svg.clientWidth, svg.clientHeight);
  x -= event.movementX / unit * span; y -= event.movementY / unit * span;
  draw();
};
const legend = document.getElementById('legend');
if (groups.length > 1) groups.forEach((group, number) => {
  const button = document.createElement('button');
  const dot = document.createElement('i');
  dot.style.background = group.color;
  button.append(dot, group.name);
  button.onclick = () => {
    off.has(number) ? off.delete(number) : off.add(number);
    button.classList.toggle('off'); draw();
  };
  legend.append(button);
});
window.onresize = draw; draw();
</script></html>
"""


@dataclass(frozen=True)
class Point:
    """A thumbnail and where it is.

    Attributes:
        picture: RGB, uint8, ``(H, W, 3)``.
        position: Horizontal and vertical position in [0, 1].
        label: What to show of it, such as the name of the file.
        group: Its class. Each group has a color.
    """

    picture: np.ndarray
    position: tuple[float, float]
    label: str = ''
    group: str = ''


def group_colors(groups: Sequence[str]) -> dict[str, str]:
    """Give each group a color; a single group is gray."""
    names = sorted(set(groups))
    if len(names) < 2:
        return dict.fromkeys(names, _GRAY)
    few = colormaps['tab10' if len(names) <= 10 else 'tab20']
    return {name: to_hex(few(i % few.N)) for i, name in enumerate(names)}


def embedding_page(points: Sequence[Point], title: str, note: str = '') -> str:
    """Make a web page of thumbnails that one can zoom, drag and filter.

    Args:
        points: The thumbnails.
        title: Title of the page.
        note: A sentence beside the title.

    Returns:
        HTML that needs no other file and no network.
    """
    colors = group_colors([point.group for point in points])
    number = {name: i for i, name in enumerate(colors)}
    items = [
        dict(
            x=round(float(point.position[0]), 5),
            y=round(1 - float(point.position[1]), 5),
            label=point.label,
            group=number[point.group],
            data=_data_url(point.picture),
        )
        for point in points
    ]
    groups = [dict(name=n or 'all', color=c) for n, c in colors.items()]
    parts = {
        'TITLE': html.escape(title),
        'NOTE': html.escape(note),
        'ITEMS': _script(items),
        'GROUPS': _script(groups),
    }
    page = _PAGE
    for name, text in parts.items():
        page = page.replace(f'__{name}__', text)
    return page


def embedding_figure(points: Sequence[Point], title: str = '') -> Figure:
    """Draw thumbnails at their positions, with a rim in the group's color.

    Args:
        points: The thumbnails.
        title: Title of the figure.

    Returns:
        The figure, with a legend if there are several groups.
    """
    colors = group_colors([point.group for point in points])
    lines = -(-len(colors) // _LEGEND_COLUMNS) if len(colors) > 1 else 0
    below, above = 0.01 + 0.035 * lines, 0.06 if title else 0.01
    figure = Figure(figsize=(7, 6.3), dpi=110)
    axis = figure.add_axes((0.01, below, 0.98, 1 - below - above))
    axis.set(xlim=(-0.04, 1.04), ylim=(-0.04, 1.04))
    axis.set_xticks([])
    axis.set_yticks([])
    side = min(34.0, max(9.0, 420 / len(points) ** 0.5))
    for point in points:
        small = np.asarray(_thumbnail(point.picture))
        image = OffsetImage(small, zoom=side / max(small.shape[:2]))
        axis.add_artist(
            AnnotationBbox(
                image,
                (float(point.position[0]), float(point.position[1])),
                pad=0.12,
                bboxprops=dict(edgecolor=colors[point.group], linewidth=1.3),
            )
        )
    if len(colors) > 1:
        for name, color in colors.items():
            axis.plot([], [], 's', color=color, label=name)
        axis.legend(
            fontsize=7,
            ncols=_LEGEND_COLUMNS,
            loc='upper center',
            bbox_to_anchor=(0.5, 0),
            frameon=False,
        )
    if title:
        axis.set_title(title, fontsize=10)
    return figure


def _thumbnail(picture: np.ndarray) -> Image.Image:
    image = Image.fromarray(picture)
    image.thumbnail((_THUMBNAIL, _THUMBNAIL))
    return image


def _data_url(picture: np.ndarray) -> str:
    buffer = io.BytesIO()
    _thumbnail(picture).save(buffer, 'JPEG', quality=85)
    return (
        'data:image/jpeg;base64,'
        + base64.b64encode(buffer.getvalue()).decode()
    )


def _script(value: object) -> str:
    """Write JSON that cannot end the script that it stands in."""
    return json.dumps(value).replace('<', '\\u003c')
