# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Draw the figure of the method: python docs/images/method.py

It writes method.svg beside this file. The card has a background of its own,
so the figure can be read on light and on dark pages.
"""

from pathlib import Path

WIDTH, HEIGHT = 960, 400
INK, LINE, CARD = '#1f2430', '#5b6475', '#ffffff'
BLUE, ORANGE, GREEN, GRAY = '#dbe8fb', '#fde6cf', '#d9f0dd', '#e9ebf0'
FONT = 'font-family="Helvetica, Arial, sans-serif"'
# A flower on a grid of 4 x 4 patches, and which of them are masked.
PATCHES = [
    ['#9fc6e8', '#9fc6e8', '#e98aa0', '#9fc6e8'],
    ['#9fc6e8', '#e98aa0', '#f6c945', '#e98aa0'],
    ['#a9d59a', '#a9d59a', '#e98aa0', '#a9d59a'],
    ['#7fbf6d', '#7fbf6d', '#4e9a43', '#7fbf6d'],
]
MASKED = {(0, 2), (1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (3, 1), (3, 2)}


def text(x, y, content, size=14, weight='normal', color=INK, anchor='middle'):
    return (
        f'<text x="{x}" y="{y}" font-size="{size}" font-weight="{weight}" '
        f'fill="{color}" text-anchor="{anchor}" {FONT}>{content}</text>'
    )


def box(x, y, width, name, role, fill):
    return (
        f'<rect x="{x}" y="{y}" width="{width}" height="56" rx="8" '
        f'fill="{fill}" stroke="{LINE}"/>'
        + text(x + width / 2, y + 24, name, 15, 'bold')
        + text(x + width / 2, y + 43, role, 12)
    )


def arrow(*points, dashed=False, label='', at=(0, 0)):
    path = ' '.join(f'{x},{y}' for x, y in points)
    style = ' stroke-dasharray="5 4"' if dashed else ''
    line = (
        f'<polyline points="{path}" fill="none" stroke="{LINE}" '
        f'stroke-width="1.6" marker-end="url(#head)"{style}/>'
    )
    return line + (text(*at, label, 13) if label else '')


def grid(x, y, shown, side=22):
    cells = []
    for row, colors in enumerate(PATCHES):
        for column, color in enumerate(colors):
            fill = color if shown((row, column)) else GRAY
            cells.append(
                f'<rect x="{x + column * side}" y="{y + row * side}" '
                f'width="{side - 2}" height="{side - 2}" fill="{fill}"/>'
            )
    return ''.join(cells)


def figure():
    parts = [
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="14" fill="{CARD}"/>',
        # visible patches: encoder, regressor, decoder
        grid(28, 36, lambda p: p not in MASKED),
        text(71, 148, 'visible patches X&#7525;', 13),
        arrow((120, 79), (160, 79)),
        box(162, 51, 120, 'encoder F', 'a ViT', BLUE),
        arrow((282, 79), (372, 79), label='Z&#7525;', at=(326, 70)),
        box(374, 51, 130, 'regressor H', 'cross-attention', ORANGE),
        arrow((439, 142), (439, 109)),
        text(439, 160, 'mask queries Q&#8344;', 13),
        arrow((504, 79), (624, 79), label='latents Z&#8344;', at=(563, 70)),
        box(626, 51, 120, 'decoder G', 'self-attention', ORANGE),
        arrow((746, 79), (806, 79), label='Y&#8344;', at=(774, 70)),
        # masked patches: the same encoder, without gradient
        grid(28, 186, lambda p: p in MASKED),
        text(71, 298, 'masked patches X&#8344;', 13),
        arrow((120, 229), (160, 229)),
        box(162, 201, 120, 'encoder F', 'shared, no gradient', BLUE),
        arrow((282, 229), (488, 229), label='target latents', at=(384, 220)),
        # losses
        box(490, 201, 152, 'alignment loss', 'squared error', GREEN),
        arrow((566, 80), (566, 199)),
        box(808, 51, 128, 'token loss', 'cross-entropy', GREEN),
        # tokenizer
        arrow((71, 306), (71, 347), (160, 347), dashed=True),
        text(115, 366, 'whole image', 13),
        box(162, 319, 120, 'tokenizer T', 'frozen', GRAY),
        arrow(
            (282, 347),
            (872, 347),
            (872, 109),
            label='tokens of the masked patches',
            at=(560, 338),
        ),
    ]
    head = (
        '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" '
        'markerWidth="8" markerHeight="8" orient="auto-start-reverse">'
        f'<path d="M0 0 L10 5 L0 10 z" fill="{LINE}"/></marker></defs>'
    )
    title = (
        '<title>CAE: the encoder sees the visible patches; a regressor '
        'predicts the latents of the masked ones; a decoder turns them into '
        'tokens</title>'
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} '
        f'{HEIGHT}" role="img">{title}{head}{"".join(parts)}</svg>\n'
    )


if __name__ == '__main__':
    (Path(__file__).parent / 'method.svg').write_text(figure())
