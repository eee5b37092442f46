# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Write the table of ``small_scale.py``."""

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


def summarize(values: list[float]) -> str:
    """The mean, and the range if there are several seeds."""
    text = f'{statistics.mean(values):.1f}'
    if len(values) > 1:
        text += f' [{min(values):.1f}-{max(values):.1f}]'
    return text


def write_table(folder: Path, results: dict) -> str:
    """Write ``table.md``: one row per arm, with means over the seeds.

    Args:
        folder: Where to write.
        results: ``labels`` is a list of ``'few'``, ``'all'`` or both.
            ``arms`` has a list of dicts for each arm, one per seed. Such a
            dict has accuracies in % for each of the ``labels``, and
            ``pretrain_cpu`` (seconds) if the arm was pretrained.

    Returns:
        The table.
    """
    lines = [
        '| labels | encoder | ' + ' | '.join(COLUMNS.values()) + ' |',
        '|---' * (len(COLUMNS) + 2) + '|',
    ]
    for labels in results['labels']:
        heading = dict(few='10 per class', all='all')[labels]
        for arm, runs in results['arms'].items():
            cells = [
                summarize([run[labels][key] for run in runs])
                for key in COLUMNS
            ]
            row = ' | '.join([heading, NAMES[arm], *cells])
            lines.append(f'| {row} |')
    lines.append('')
    for arm, runs in results['arms'].items():
        seconds = [r['pretrain_cpu'] for r in runs if 'pretrain_cpu' in r]
        if seconds:
            median = statistics.median(seconds)
            lines.append(
                f'{NAMES[arm]}: pretrained in {median:.0f} s of CPU time'
            )
    table = '\n'.join(lines) + '\n'
    (folder / 'table.md').write_text(table)
    return table
