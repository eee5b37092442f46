# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The tables of ``adapt_study.py``."""

from collections.abc import Iterator
from statistics import mean
from typing import Any

from table import summarize

PROBES = dict(knn='10-NN', attentive='attentive')
NAMES = dict(
    random='random weights, not trained',
    start='the start, not trained',
    scratch='from scratch',
    adapted='adapted',
)
Rows = list[dict[str, Any]]


def select(cells: Rows, **wanted: Any) -> Rows:
    """The cells that have these values."""
    return [c for c in cells if all(c[k] == v for k, v in wanted.items())]


def distinct(cells: Rows, *keys: str) -> list[tuple]:
    """The values that occur, in their order."""
    return list(dict.fromkeys(tuple(c[k] for k in keys) for c in cells))


def results_table(cells: Rows) -> str:
    """Accuracy of each arm: mean and range over the seeds."""
    lines = [
        '| direction | trained on | images seen | encoder | seeds | '
        + ' | '.join(PROBES.values())
        + ' |',
        '|---' * (5 + len(PROBES)) + '|',
    ]
    for direction, images in distinct(cells, 'direction', 'images'):
        group = select(cells, direction=direction, images=images)
        for (arm,) in distinct(group, 'arm'):
            rows = select(group, arm=arm)
            seen = rows[0].get('images_seen', 0)
            shown = [summarize([r[probe] for r in rows]) for probe in PROBES]
            row = [direction, images, f'{seen:,}', NAMES[arm]]
            row += [str(len(rows)), *shown]
            lines.append(f'| {" | ".join(row)} |')
    return '\n'.join(lines)


def compare(rows: Rows, others: Rows, probe: str) -> tuple[float, float]:
    """The difference of two means, and the larger of the two ranges."""
    values = [[row[probe] for row in part] for part in (rows, others)]
    spread = max(max(part) - min(part) for part in values)
    return mean(values[0]) - mean(values[1]), spread


def verdict_lines(cells: Rows) -> Iterator[str]:
    """Rows: does an arm beat another by more than the spread?"""
    pairs = (
        ('adapted', 'scratch'),
        ('adapted', 'random'),
        ('scratch', 'random'),
        ('adapted', 'start'),
    )
    for direction, images in distinct(cells, 'direction', 'images'):
        group = select(cells, direction=direction, images=images)
        for arm, other in pairs:
            rows, others = select(group, arm=arm), select(group, arm=other)
            if not rows or not others:
                continue
            shown = []
            for probe in PROBES:
                gain, spread = compare(rows, others, probe)
                answer = 'yes' if gain > spread else 'no'
                shown.append(f'{answer} ({gain:+.1f}, spread {spread:.1f})')
            what = f'{NAMES[arm]} above {NAMES[other]}'
            row = [direction, images, what, *shown]
            yield f'| {" | ".join(row)} |'


def verdicts_table(cells: Rows) -> str:
    """Which differences are larger than the spread over the seeds."""
    heading = ['direction', 'trained on', 'is', *PROBES.values()]
    lines = [f'| {" | ".join(heading)} |', '|---' * len(heading) + '|']
    return '\n'.join([*lines, *verdict_lines(cells)])


def choice_table(cells: Rows) -> str:
    """Mean accuracy on the validation images, by setting."""
    columns = distinct(cells, 'direction', 'images')
    names = [
        f'{direction.split()[-1]}, {images}: {probe}'
        for direction, images in columns
        for probe in PROBES.values()
    ]
    lines = [
        f'| encoder | peak | layer decay | {" | ".join(names)} | mean |',
        '|---' * (4 + len(names)) + '|',
    ]
    for arm, peak, decay in distinct(cells, 'arm', 'peak', 'decay'):
        group = select(cells, arm=arm, peak=peak, decay=decay)
        values = []
        for direction, images in columns:
            rows = select(group, direction=direction, images=images)
            values += [mean(r[p] for r in rows) if rows else 0 for p in PROBES]
        shown = [f'{value:.1f}' for value in (*values, mean(values))]
        row = [NAMES[arm], f'{peak:g}', f'{decay:g}', *shown]
        lines.append(f'| {" | ".join(row)} |')
    return '\n'.join(lines)


def tables(record: dict[str, Any]) -> dict[str, str]:
    """The tables of a record, and the line that names the machine."""
    machine = record['machine']
    torch = machine['packages']['torch']
    cells, choice = record.get('test', []), record.get('choice', [])
    return dict(
        choice=choice_table(choice),
        results=results_table(cells),
        verdicts=verdicts_table(cells),
        machine=f'{machine["processor"]}, one thread; torch {torch}.',
    )


def filled(page: str, parts: dict[str, str]) -> str:
    """A page with each part between its marks.

    Args:
        page: With ``<!-- adapt: NAME -->`` before each part and
            ``<!-- end -->`` after it.
        parts: The texts by their names.
    """
    for name, text in parts.items():
        mark = f'<!-- adapt: {name} -->\n'
        before, _, rest = page.partition(mark)
        _, end, after = rest.partition('<!-- end -->')
        page = f'{before}{mark}{text}\n{end}{after}'
    return page
