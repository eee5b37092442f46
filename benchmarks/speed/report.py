# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Write the files and the tables of a measurement."""

import json
from collections.abc import Mapping
from pathlib import Path

from .machine import machine_line

# Other programs disturb the minimum least: it stands beside the median.
_HEADER = (
    '| implementation | median | min | spread | images/s '
    '| of the floor | x (median) | x (min) |'
)


def write_report(folder: Path, name: str, result: dict, text: str) -> None:
    """Write ``NAME.json`` and ``NAME.md``, and print the second."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f'{name}.json').write_text(json.dumps(result, indent=2) + '\n')
    load = result.get('load_average')
    busy = '' if load is None else f', load average {load}'
    line = machine_line(result['machine'])
    text = f'{text}\nMachine: {line}{busy}.\n'
    (folder / f'{name}.md').write_text(text)
    print(text, flush=True)


def steps_table(steps: Mapping[str, Mapping], batch_size: int) -> str:
    """A Markdown table: one row per implementation.

    Args:
        steps: By implementation: ``busy`` and ``ratio`` (see `clock`), and
            ``floor_share``.
        batch_size: Number of images in a step.
    """
    rows = [_HEADER, '|---' * 8 + '|']
    for name, row in steps.items():
        busy, ratio = row['busy'], row['ratio']
        rows.append(
            f'| {name} | {_seconds(busy["median"])} '
            f'| {_seconds(busy["min"])} | {busy["spread"]:.0%} '
            f'| {batch_size / busy["median"]:.2f} '
            f'| {row["floor_share"]:.0%} '
            f'| {ratio["median"]:.2f} | {ratio["min"]:.2f} |'
        )
    return '\n'.join(rows) + '\n'


def memory_table(memory: Mapping[str, Mapping[str, float]]) -> str:
    """A Markdown table: bytes kept for the backward pass, and peaks."""
    rows = [
        '| implementation | kept for backward, per image | peak of a step |',
        '|---|---|---|',
    ]
    for name, row in memory.items():
        peak = row.get('peak')
        rows.append(
            f'| {name} | {row["per_image"] / 1e6:.1f} MB | '
            + (f'{peak / 1e6:.0f} MB |' if peak else '- |')
        )
    return '\n'.join(rows) + '\n'


def _seconds(value: float) -> str:
    return f'{value:.2f} s' if value >= 1 else f'{1000 * value:.1f} ms'
