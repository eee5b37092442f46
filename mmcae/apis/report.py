# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Pages and tables about runs."""

import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from mmcae.apis.run_folder import RunFolder, read_run
from mmcae.checkpoint.files import atomic_write
from mmcae.version import __version__
from mmcae.visualization.report_page import Page, report_page

#: Captions of pictures that hooks draw into a work dir.
_CAPTIONS = {'reconstructions.png': 'Predictions over time'}
# Paths and names differ between any two runs.
_NOT_COMPARED = ('work_dir', 'experiment_name', 'launcher', 'filename')


def write_report(
    work_dirs: Sequence[str | os.PathLike],
    out: str | os.PathLike | None = None,
    status: str | None = None,
) -> Path:
    """Write an HTML page about one run, or several side by side.

    Args:
        work_dirs: The work dirs.
        out: The file. Defaults to ``report.html`` in the first work dir.
        status: The status to show, instead of what the work dirs say.

    Returns:
        The file.

    Raises:
        FileNotFoundError: If a folder does not exist or has no run.
    """
    runs = [read_run(folder, status) for folder in work_dirs]
    made = (
        f'Made by mmcae {__version__} on '
        f'{datetime.now().strftime("%Y-%m-%d at %H:%M")}. Steps are '
        'iterations; numbers are means since the line before, as in the log.'
    )
    names = _unique_names(runs)
    pages = [_page(run, name) for run, name in zip(runs, names, strict=True)]
    path = Path(out) if out is not None else runs[0].path / 'report.html'
    with atomic_write(path) as file:
        file.write(report_page(pages, made).encode())
    return path


def flat_settings(node: Any, prefix: str = '') -> dict[str, str]:
    """A config as one level of dotted keys.

    Args:
        node: Dicts, lists and plain values.
        prefix: The key of ``node``.
    """
    if isinstance(node, Mapping) and node:
        items: Any = node.items()
    elif isinstance(node, list) and any(isinstance(i, Mapping) for i in node):
        items = enumerate(node)
    else:
        return {prefix: str(node)}
    flat: dict[str, str] = {}
    for key, value in items:
        if prefix or key not in _NOT_COMPARED:
            flat |= flat_settings(value, f'{prefix}.{key}' if prefix else key)
    return flat


def describe_run(run: RunFolder) -> dict[str, str]:
    """The rows of the table at the top of a report."""
    config = run.config
    model = config.get('model') or {}
    loader = config.get('train_dataloader') or {}
    dataset = loader.get('dataset') or {}
    root = dataset.get('data_root') or config.get('data_root')
    facts = {
        'status': run.status + _since(run),
        'model': str(model.get('type', '–')),
        'images': str(root or '–'),
        'batch size': str(loader.get('batch_size', '–')),
        'starts': f'{len(run.starts)}, the first {run.starts[0]}',
        'steps': f'{run.records[-1]["step"]:,}' if run.records else '0',
    }
    generator = model.get('target_generator') or {}
    tokenizer = (generator.get('init_cfg') or {}).get('checkpoint')
    if tokenizer:
        facts['tokenizer'] = str(tokenizer)
    seed = (config.get('randomness') or {}).get('seed')
    if seed is not None:
        facts['seed'] = str(seed)
    for name in ('loss', 'acc', 'acc_position', 'cosine', 'latent_std'):
        value = run.latest(name)
        if value is not None:
            facts[f'last {name}'] = f'{value:.4g}'
    for name in ('probe_knn', 'probe_linear'):
        best = run.best(name)
        if best is not None:
            facts[f'best {name}'] = f'{best:.1f} %'
    if run.checkpoint is not None:
        facts['checkpoint'] = str(run.checkpoint)
    return facts | run.facts


def runs_table(runs: Sequence[RunFolder]) -> str:
    """A line for each run: status, steps, last loss and best probe."""
    rows = [['run', 'status', 'steps', 'loss', 'best probe', 'last sign']]
    for run in runs:
        loss, probe = run.latest('loss'), run.best('probe_knn')
        rows.append(
            [
                str(run.path),
                run.status,
                f'{run.records[-1]["step"]:,}' if run.records else '0',
                '–' if loss is None else f'{loss:.4g}',
                '–' if probe is None else f'{probe:.1f} %',
                f'{run.last_sign:%Y-%m-%d %H:%M}' if run.last_sign else '–',
            ]
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = zip(row, widths, strict=True)
        lines.append('  '.join(cell.ljust(w) for cell, w in cells).rstrip())
    return '\n'.join(lines)


def _since(run: RunFolder) -> str:
    if run.last_sign is None or run.status == 'done':
        return ''
    return f', last sign {run.last_sign:%Y-%m-%d %H:%M}'


def _unique_names(runs: Sequence[RunFolder]) -> list[str]:
    names = [run.name for run in runs]
    if len(set(names)) < len(names):
        return [str(run.path) for run in runs]
    return names


def _page(run: RunFolder, name: str) -> Page:
    return Page(
        name=name,
        facts=describe_run(run),
        records=run.records,
        validations=run.validations,
        warnings=run.warnings[:20],
        pictures={
            _CAPTIONS.get(path.name, path.stem): path.read_bytes()
            for path in run.pictures
        },
        settings=flat_settings(run.config),
    )
