# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The table of ``small_scale.py``."""

import statistics
from pathlib import Path

COLUMNS = dict(
    linear='linear',
    attentive='attentive',
    knn='10-NN',
    finetune='fine-tuned',
)
NAMES = dict(
    random='random weights (fine-tuned: from scratch)',
    mmpretrain="mmpretrain's CAE",
    mmcae='mmcae',
)


def summarise(values: list[float]) -> str:
    """Mean and, of several seeds, the range."""
    text = f'{statistics.mean(values):.1f}'
    if len(values) > 1:
        text += f' [{min(values):.1f}-{max(values):.1f}]'
    return text


def write_table(folder: Path, results: dict) -> str:
    """Write ``table.md``: one row an arm, means over the seeds.

    Args:
        folder: Where to write.
        results: ``arms``: for each, a list of dicts of accuracies in %.

    Returns:
        The table.
    """
    lines = [
        '| encoder | ' + ' | '.join(COLUMNS.values()) + ' | pretraining |',
        '|---' * (len(COLUMNS) + 2) + '|',
    ]
    for arm, runs in results['arms'].items():
        cells = [summarise([run[key] for run in runs]) for key in COLUMNS]
        seconds = [r['pretrain_cpu'] for r in runs if 'pretrain_cpu' in r]
        cost = f'{statistics.median(seconds):.0f} s CPU' if seconds else '-'
        lines.append(f'| {NAMES[arm]} | ' + ' | '.join([*cells, cost]) + ' |')
    table = '\n'.join(lines) + '\n'
    (folder / 'table.md').write_text(table)
    return table
