# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""One page about one run or several: numbers, curves and pictures."""

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .charts import Area, Series, line_chart

STYLE = """
:root { color-scheme: light dark; --back: #fff; --text: #1d2125;
        --soft: #5c6670; --line: #d8dde2; --card: #f5f7f9; --warn: #8a4b00; }
@media (prefers-color-scheme: dark) {
  :root { --back: #14171a; --text: #e4e8ec; --soft: #9aa5b1; --line: #323a42;
          --card: #1c2126; --warn: #f0b060; } }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--text);
       background: var(--back); margin: 0 auto; max-width: 1120px;
       padding: 1rem; }
h1 { font-size: 1.5em; margin: .2em 0; }
h2 { font-size: 1.15em; margin: 1.6em 0 .5em;
     border-bottom: 1px solid var(--line); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; }
th, td { padding: .25em .8em .25em 0; text-align: left; vertical-align: top;
         border-bottom: 1px solid var(--line); overflow-wrap: anywhere; }
th { font-weight: 600; white-space: nowrap; }
.charts { display: grid; gap: 1rem;
          grid-template-columns: repeat(auto-fill, minmax(300px, 1fr)); }
.chart { background: var(--card); border-radius: 6px; padding: .5rem; }
svg { width: 100%; height: auto; display: block; }
svg text { fill: currentColor; font: 10px system-ui, sans-serif; }
svg .title { font-size: 12px; font-weight: 600; }
svg .tick { fill: var(--soft); }
svg .area { fill: currentColor; opacity: .14; }
svg .grid { stroke: var(--line); stroke-width: .6; }
.legend { font-size: 12px; display: flex; flex-wrap: wrap; gap: 0 1em;
          padding-left: 46px; }
.legend svg.key { width: 22px; display: inline-block;
                  vertical-align: middle; }
img { max-width: 100%; height: auto; background: #fff; border-radius: 6px; }
.warn { color: var(--warn); } .soft { color: var(--soft); }
code { overflow-wrap: anywhere; }
"""


@dataclass
class Page:
    """What a report shows of a run.

    Attributes:
        name: The run's name.
        facts: Rows of the table at the top.
        records: Logged numbers by step.
        validations: The same of validations.
        warnings: Lines to show as warnings.
        pictures: PNG files by caption.
        settings: The config as dotted keys, to compare runs.
        areas: Gray areas behind the curve of a number, by its name.
    """

    name: str
    facts: Mapping[str, str]
    records: Sequence[Mapping[str, float]]
    validations: Sequence[Mapping[str, float]] = ()
    warnings: Sequence[str] = ()
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    areas: Mapping[str, Area] = field(default_factory=dict)


#: Title of each chart and the numbers in it. What else was logged comes last.
PANELS: dict[str, tuple[str, ...]] = {
    'loss': ('loss', 'main', 'align'),
    'token accuracy and its reference': ('acc', 'acc_position'),
    'alignment (cosine)': ('cosine',),
    'standard deviation of the latents': ('latent_std',),
    'rank of the latents': ('rank_target', 'rank_pred'),
    'spread of the latents': ('spread_target', 'spread_pred'),
    'codes in use (perplexity)': ('perplexity', 'codes_used'),
    'probes, %': ('probe_knn', 'probe_linear'),
    'PSNR of the tokenizer, dB': ('psnr',),
    'norm of the gradient': ('grad_norm',),
    'learning rate': ('lr',),
    'images per second': ('images_per_second',),
    'seconds a step, and waiting for data': ('time', 'data_time'),
    'memory, MB': ('memory',),
    'unreadable images': ('unreadable',),
}
_MOST_OPEN_ROWS = 15
_NO_PANEL = {'step', 'iter', 'epoch', 'base_lr'}


def report_page(pages: Sequence[Page], made: str) -> str:
    """Write an HTML page that needs no other file.

    Args:
        pages: The runs, one or several side by side.
        made: A line about when and by what the page was made.
    """
    names = [page.name for page in pages]
    title = 'Run ' + names[0] if len(pages) == 1 else f'{len(pages)} runs'
    parts = [f'<h1>{html.escape(title)}</h1>']
    if len(pages) > 1:
        parts.append(_differences(pages))
    parts.append(_facts(pages))
    for page in pages:
        for line in page.warnings:
            who = f'{page.name}: ' if len(pages) > 1 else ''
            parts.append(f'<p class="warn">⚠ {html.escape(who + line)}</p>')
    parts += [_charts(pages), _pictures(pages), _settings(pages)]
    parts.append(f'<p class="soft">{html.escape(made)}</p>')
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{html.escape(title)}</title><style>{STYLE}</style>'
        f'<body>{"".join(parts)}</body></html>\n'
    )


def differences(pages: Sequence[Page]) -> dict[str, list[str]]:
    """Settings that are not the same in all runs, by dotted key."""
    keys = dict.fromkeys(key for page in pages for key in page.settings)
    rows = {k: [page.settings.get(k, '–') for page in pages] for k in keys}
    return {key: row for key, row in rows.items() if len(set(row)) > 1}


def _facts(pages: Sequence[Page]) -> str:
    keys = dict.fromkeys(key for page in pages for key in page.facts)
    head = ['', *(page.name for page in pages)] if len(pages) > 1 else []
    rows = [[key, *(p.facts.get(key, '–') for p in pages)] for key in keys]
    return _table(head, rows)


def _differences(pages: Sequence[Page]) -> str:
    rows = [[key, *values] for key, values in differences(pages).items()]
    if not rows:
        return '<h2>Configs</h2><p>The configs are equal.</p>'
    head = ['setting', *(page.name for page in pages)]
    opened = ' open' if len(rows) <= _MOST_OPEN_ROWS else ''
    return (
        f'<h2>What differs in the configs</h2><details{opened}>'
        f'<summary>{len(rows)} settings</summary>{_table(head, rows)}'
        '</details>'
    )


def _settings(pages: Sequence[Page]) -> str:
    """The config of one run; of several, the differences are shown."""
    if len(pages) > 1 or not pages[0].settings:
        return ''
    rows = [[key, value] for key, value in pages[0].settings.items()]
    return (
        f'<h2>Config</h2><details><summary>{len(rows)} settings</summary>'
        f'{_table([], rows)}</details>'
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        first, *rest = (html.escape(cell) for cell in cells)
        rest_cells = ''.join(f'<{tag}>{cell}</{tag}>' for cell in rest)
        return f'<tr><th>{first}</th>{rest_cells}</tr>'

    body = ''.join(line(row, 'td') for row in rows)
    top = line(head, 'th') if head else ''
    return f'<div class="scroll"><table>{top}{body}</table></div>'


def _charts(pages: Sequence[Page]) -> str:
    charts = [
        _chart(title, names, pages, 'records')
        for title, names in _panels(pages).items()
    ]
    metrics = dict.fromkeys(
        name for p in pages for record in p.validations for name in record
    )
    for name in metrics:
        if name not in {*_NO_PANEL, 'time', 'data_time'}:
            title = f'validation: {name}'
            charts.append(_chart(title, (name,), pages, 'validations'))
    drawn = ''.join(f'<div class="chart">{c}</div>' for c in charts if c)
    if not drawn:
        return '<h2>Curves</h2><p>Nothing has been logged yet.</p>'
    return f'<h2>Curves</h2><div class="charts">{drawn}</div>'


def _panels(pages: Sequence[Page]) -> dict[str, tuple[str, ...]]:
    logged = dict.fromkeys(
        name for page in pages for record in page.records for name in record
    )
    known = {name for names in PANELS.values() for name in names} | _NO_PANEL
    rest = {name: (name,) for name in logged if name not in known}
    return {**PANELS, **rest}


def _chart(
    title: str, names: Sequence[str], pages: Sequence[Page], source: str
) -> str:
    several = len(pages) > 1
    series = []
    for i, page in enumerate(pages):
        for j, name in enumerate(names):
            points = [
                (record['step'], record[name])
                for record in getattr(page, source)
                if name in record
            ]
            if several:
                label = f'{page.name}: {name}' if len(names) > 1 else page.name
                series.append(Series(label, points, color=i, dash=j))
            else:
                label = name if len(names) > 1 else ''
                series.append(Series(label, points, color=j))
    if source != 'records':
        return line_chart(title, series, 'epoch or step')
    areas = [page.areas[n] for page in pages for n in names if n in page.areas]
    # Those of several runs would hide each other, unless they are equal.
    area = areas[0] if areas and all(a == areas[0] for a in areas) else None
    return line_chart(title, series, 'step', area)


def _pictures(pages: Sequence[Page]) -> str:
    parts = []
    for page in pages:
        for caption, png in page.pictures.items():
            who = f'{page.name}: ' if len(pages) > 1 else ''
            text = html.escape(who + caption)
            data = base64.b64encode(png).decode()
            parts.append(
                f'<h2>{text}</h2><img alt="{text}" '
                f'src="data:image/png;base64,{data}">'
            )
    return ''.join(parts)
