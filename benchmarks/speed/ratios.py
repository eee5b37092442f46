# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Make one table of ratios from the files that the tools write."""

from collections.abc import Sequence
from typing import NamedTuple


class RatioRow(NamedTuple):
    """One comparison; a ratio above 1 means that ours is better.

    Attributes:
        what: What was measured.
        against: Name of the other implementation.
        median: Ratio of the medians, or of the only numbers that there are.
        least: Ratio of the minima; ``None`` if there are none.
    """

    what: str
    against: str
    median: float
    least: float | None = None


def ratio_rows(name: str, result: dict) -> list[RatioRow]:
    """The comparisons in one file.

    Args:
        name: Name of the file without its ending. Files with other names
            than those of our tools give no rows.
        result: Content of the file.
    """
    if name.rpartition('/')[2] in ('step', 'step_stored'):
        return _step_rows(result)
    if name == 'tokenizer':
        return _tokenizer_rows(result['tokenizers'])
    if name == 'dataloader':
        return _dataloader_rows(result)
    return []


def ratio_table(rows: Sequence[RatioRow]) -> str:
    """A Markdown table: one row per comparison."""
    lines = ['| ours is better by | against | x (median) | x (min) |']
    lines.append('|---|---|---|---|')
    for row in rows:
        least = '-' if row.least is None else f'{row.least:.2f}'
        lines.append(
            f'| {row.what} | {row.against} | {row.median:.2f} | {least} |'
        )
    return '\n'.join(lines) + '\n'


def _step_rows(result: dict) -> list[RatioRow]:
    rows = []
    for run in result['runs']:
        ours, *others = run['steps']
        stored = ', stored tokens' if result['tokens'] == 'stored' else ''
        case = f'{run["precision"]}, batch {run["batch_size"]}{stored}'
        if result['threads'] > 1:
            case += f', {result["threads"]} threads'
        for other in others:
            ratio = run['steps'][other]['ratio']
            what = f'time of a step, {case}'
            rows.append(RatioRow(what, other, ratio['median'], ratio['min']))
            for key, title in (
                ('per_image', 'bytes kept for backward'),
                ('peak', 'peak memory'),
            ):
                sizes = [run['memory'][n].get(key) for n in (other, ours)]
                if all(sizes):
                    quotient = sizes[0] / sizes[1]
                    rows.append(RatioRow(f'{title}, {case}', other, quotient))
            upkeep = [_upkeep(run.get('parts', {}), n) for n in (other, ours)]
            if all(upkeep):
                what = f'time of optimizer, clipping and upkeep, {case}'
                rows.append(RatioRow(what, other, upkeep[0] / upkeep[1]))
    return rows


def _upkeep(parts: dict, name: str) -> float:
    names = ('upkeep', 'clip', 'optimizer')
    rows = (parts.get(name, {}).get(part) for part in names)
    return sum(row['forward'] for row in rows if row)


def _tokenizer_rows(tokenizers: dict) -> list[RatioRow]:
    rows = []
    for name, row in tokenizers.items():
        owner, _, precision = name.partition(' ')
        other = f'mmpretrain {precision}'
        if owner != 'mmcae' or other not in tokenizers:
            continue
        peer = tokenizers[other]['busy']
        median, least = (
            peer[key] / row['busy'][key] for key in ('median', 'min')
        )
        what = f'time of the tokenizer, {precision}'
        rows.append(RatioRow(what, other, median, least))
    return rows


def _dataloader_rows(result: dict) -> list[RatioRow]:
    times = result['times']
    rows = [
        RatioRow(
            f'time of the data pipeline, {ours}',
            peer,
            times[peer]['total'] / times[ours]['total'],
        )
        for ours in result['ours']
        for peer in times
        if peer not in result['ours']
    ]
    masks = result['masks_per_second']
    quotient = masks['mmcae'] / masks['mmpretrain']
    return [*rows, RatioRow('masks a second', 'mmpretrain', quotient)]
