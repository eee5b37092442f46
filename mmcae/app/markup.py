# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""HTML of what the page shows. Pictures are part of it, as data URLs."""

import base64
import html
import io
import json
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from mmcae.apis.image_reconstruction import ImageReconstruction
from mmcae.app.examples import Example
from mmcae.app.explorer import Neighbor
from mmcae.visualization.contact_sheet import HeatMap, render_map

#: Pictures with a shorter side than this are drawn with sharp pixels.
SMOOTH_FROM = 160

#: What each picture of a reconstruction shows, by its attribute.
PANELS = {
    'seen': ('Visible', 'what the encoder sees'),
    'picture': ('Predicted', 'all tokens, drawn by the decoder'),
    'pasted': ('Pasted back', 'prediction, with the visible patches'),
    'tokenizer_picture': (
        'Best possible',
        "the tokenizer's own reconstruction",
    ),
    'hits': ('Token right?', 'green: yes, red: another one'),
    'alignment': ('Alignment', 'cosine: dark 0, yellow 1'),
}


def data_url(picture: np.ndarray) -> str:
    """Write a picture as a PNG in a URL.

    Args:
        picture: RGB ``(H, W, 3)``: uint8, or floats in [0, 1].
    """
    if picture.dtype != np.uint8:
        picture = np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, 'PNG')
    return 'data:image/png;base64,' + base64.b64encode(
        buffer.getvalue()
    ).decode('ascii')


def canvas_value(
    view: np.ndarray,
    grid: tuple[int, int],
    mask: np.ndarray | None = None,
    patch: tuple[int, int] | None = None,
) -> str:
    """What ``static/patch_canvas.js`` draws, as JSON.

    Args:
        view: The encoder's view, RGB, uint8, ``(H, W, 3)``.
        grid: Rows and columns of the patch grid.
        mask: True where a patch is masked, ``(h, w)``. None leaves the mask
            of the canvas as it is.
        patch: Row and column of the patch with a frame.
    """
    return json.dumps(
        dict(
            picture=data_url(view),
            sharp=min(view.shape[:2]) < SMOOTH_FROM,
            rows=grid[0],
            columns=grid[1],
            mask='' if mask is None else mask_text(mask),
            patch=patch,
        )
    )


def mask_text(mask: np.ndarray) -> str:
    """Write a mask as one digit for each patch, row by row."""
    return ''.join('1' if cell else '0' for cell in mask.ravel())


def figure(picture: np.ndarray, title: str, text: str = '') -> str:
    """A picture with a title and a line below it."""
    sharp = ' class="sharp"' if min(picture.shape[:2]) < SMOOTH_FROM else ''
    title, text = html.escape(title), html.escape(text)
    return (
        f'<figure><img{sharp} alt="{title}" src="{data_url(picture)}">'
        f'<figcaption><b>{title}</b>{text}</figcaption></figure>'
    )


def figures(parts: Sequence[str]) -> str:
    """Figures side by side, as many as fit."""
    return f'<div class="cae-figures">{"".join(parts)}</div>'


def numbers(pairs: Mapping[str, str]) -> str:
    """Numbers with their names."""
    cells = ''.join(
        f'<div><b>{html.escape(value)}</b>{html.escape(name)}</div>'
        for name, value in pairs.items()
    )
    return f'<div class="cae-numbers">{cells}</div>'


def reconstruction_html(result: ImageReconstruction, seconds: float) -> str:
    """Pictures and numbers of a reconstruction.

    Args:
        result: The reconstruction.
        seconds: What it took.
    """
    pairs = {'patches masked': f'{result.mask.sum()} of {result.mask.size}'}
    if result.token_accuracy is not None:
        pairs['token accuracy'] = f'{100 * result.token_accuracy:.0f} %'
    pairs['mean cosine'] = f'{result.alignment_mean:.2f}'
    if np.isfinite(result.alignment_others):
        pairs['with other patches'] = f'{result.alignment_others:.2f}'
    pairs['time'] = (
        f'{seconds:.1f} s' if seconds >= 1 else f'{1000 * seconds:.0f} ms'
    )
    parts = []
    for attribute, (title, text) in PANELS.items():
        value = getattr(result, attribute)
        if value is None:
            continue
        if attribute == 'hits':
            heat = HeatMap(value, result.image, 0, 1, 'RdYlGn', opacity=0.7)
            value = render_map(heat)
        elif attribute == 'alignment':
            value = render_map(HeatMap(value, result.image))
        parts.append(figure(value, title, text))
    return numbers(pairs) + figures(parts)


def attention_html(
    view: np.ndarray, maps: Mapping[str, np.ndarray], chosen: str = ''
) -> str:
    """Attention maps over the picture, each with its own scale from zero.

    Args:
        view: The encoder's view, RGB, uint8, ``(H, W, 3)``.
        maps: The maps ``(h, w)`` by their titles.
        chosen: The title of the only map to draw; '' draws all.
    """
    under = view.astype(np.float32) / 255
    parts = []
    for title, values in maps.items():
        if chosen and title != chosen:
            continue
        high = max(float(values.max()), 1e-12)
        heat = HeatMap(values, under, 0, high, 'inferno', opacity=0.7)
        parts.append(figure(render_map(heat), title, f'largest: {high:.2f}'))
    return figures(parts)


def neighbors_html(found: Sequence[Neighbor]) -> str:
    """The neighbors of a picture with their cosines."""
    parts = []
    for item in found:
        if item.picture is None:
            text = f'{html.escape(item.name)} cannot be read any more'
            parts.append(f'<figure><figcaption>{text}</figcaption></figure>')
        else:
            name = item.name.rpartition('/')[2]
            parts.append(figure(item.picture, f'{item.cosine:.3f}', name))
    return figures(parts)


def examples_html(examples: Sequence[Example], views: Sequence[str]) -> str:
    """Buttons with the pictures to choose.

    Args:
        examples: The pictures.
        views: A data URL of each.
    """
    buttons = ''.join(
        f'<button type="button" data-number="{number}" '
        f'title="{html.escape(example.name)}">'
        f'<img alt="{html.escape(example.name)}" src="{url}"></button>'
        for number, (example, url) in enumerate(
            zip(examples, views, strict=True)
        )
    )
    return f'<div class="cae-examples">{buttons}</div>'


def notice_html(text: str, kind: str = 'error') -> str:
    """A sentence for the user; an empty text shows nothing.

    Args:
        text: The sentence; it gets a capital and a full stop.
        kind: ``'error'`` or ``'note'``.
    """
    if not text:
        return ''
    sentence = text[0].upper() + text[1:]
    if sentence[-1] not in '.!?':
        sentence += '.'
    role = 'alert' if kind == 'error' else 'note'
    return (
        f'<div class="cae-{kind}" role="{role}">{html.escape(sentence)}</div>'
    )
