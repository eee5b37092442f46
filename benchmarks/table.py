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
        results: ``labels``: ``few``, ``all`` or both; ``arms``: for each, a
            list of dicts: accuracies in % for each of these, and perhaps
            ``pretrain_cpu``.

    Returns:
        The table.
    """
    lines = [
        '| labels | encoder | ' + ' | '.join(COLUMNS.values()) + ' |',
        '|---' * (len(COLUMNS) + 2) + '|',
    ]
    for labels in results['labels']:
        heading = dict(few='10 a class', all='all')[labels]
        for arm, runs in results['arms'].items():
            cells = [
                summarise([run[labels][key] for run in runs])
                for key in COLUMNS
            ]
            row = ' | '.join([heading, NAMES[arm], *cells])
            lines.append(f'| {row} |')
    lines.append('')
    for arm, runs in results['arms'].items():
        seconds = [r['pretrain_cpu'] for r in runs if 'pretrain_cpu' in r]
        if seconds:
            median = statistics.median(seconds)
            lines.append(f'{NAMES[arm]}: pretrained in {median:.0f} s of CPU')
    table = '\n'.join(lines) + '\n'
    (folder / 'table.md').write_text(table)
    return table
