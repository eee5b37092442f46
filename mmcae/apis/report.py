# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Pages and tables about runs."""

import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from mmcae.apis.run_folder import RunFolder, read_run
from mmcae.checkpoint.files import atomic_write
from mmcae.checkpoint.printable import printable
from mmcae.version import __version__
from mmcae.visualization.charts import Area
from mmcae.visualization.report_page import Page, report_page
from mmcae.zoo.band_settings import curve_settings
from mmcae.zoo.loss_bands import Band, find_band

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
    return facts | run.facts | made_of(run)


def made_of(run: RunFolder) -> dict[str, str]:
    """Rows about what a run was made of; none for a run of mmcae 0.1.0."""
    known = run.made_of
    rows = {}
    data = _part(known, 'data')
    if data:
        rows['training images'] = _join(
            f'{data.get("images"):,}' if data.get('images') else '',
            _hash('list', data.get('list_sha256')),
        )
    tokenizer = _part(known, 'tokenizer')
    if tokenizer:
        rows['tokenizer weights'] = _join(
            tokenizer.get('type'), _hash('weights', tokenizer.get('sha256'))
        )
    for name in ('versions', 'git'):
        part = _part(known, name)
        if part:
            rows[name] = ', '.join(f'{k} {v}' for k, v in part.items())
    for name in ('processes', 'config', 'command'):
        if known.get(name):
            rows[name] = str(known[name])
    return {name: printable(text, 1000) for name, text in rows.items()}


def band_of(run: RunFolder) -> Band | None:
    """The loss band of a run, if there is one that it should follow."""
    config = run.made_of.get('config') or ''
    settings = curve_settings(
        run.config,
        _part(run.made_of, 'data').get('images'),
        run.made_of.get('processes', 1),
    )
    match = find_band(settings, Path(str(config)).stem)
    return match.band if match is not None and match.comparable else None


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


def _part(known: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = known.get(name)
    return part if isinstance(part, Mapping) else {}


def _join(*parts: Any) -> str:
    return ', '.join(str(part) for part in parts if part)


def _hash(what: str, sha256: Any) -> str:
    return f'SHA-256 of the {what} {str(sha256)[:12]}' if sha256 else ''


def _with_speed(run: RunFolder) -> list[dict[str, float]]:
    """The records, with images per second where they are known."""
    loader = run.config.get('train_dataloader') or {}
    batch = loader.get('batch_size')
    processes = run.made_of.get('processes', 1)
    if not isinstance(batch, int) or not isinstance(processes, int):
        return run.records
    return [
        {**record, 'images_per_second': batch * processes / record['time']}
        if record.get('time')
        else record
        for record in run.records
    ]


def _page(run: RunFolder, name: str) -> Page:
    areas = {}
    band = band_of(run)
    if band is not None:
        limits = band.curves['loss']
        points = [*zip(band.steps, limits['low'], limits['high'], strict=True)]
        label = f'band of {band.seeds} trainings of this recipe'
        areas['loss'] = Area(label, points)
    return Page(
        name=name,
        facts=describe_run(run),
        records=_with_speed(run),
        validations=run.validations,
        warnings=run.warnings[:20],
        pictures={
            _CAPTIONS.get(path.name, path.stem): path.read_bytes()
            for path in run.pictures
        },
        settings=flat_settings(run.config),
        areas=areas,
    )
