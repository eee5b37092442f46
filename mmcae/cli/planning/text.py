# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""A plan in words."""

import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from shlex import quote

from mmcae.cli.planning.choices import size_of
from mmcae.cli.planning.folder import Folder, kind_text
from mmcae.cli.planning.machine import Machine
from mmcae.cli.planning.plan import Plan, Request, Stage
from mmcae.utils.durations import duration_text

_LABEL, _WIDTH = 11, 79


def describe(
    folder: Folder,
    machine: Machine,
    request: Request,
    plan: Plan,
    waiting: float,
    out: Path,
) -> str:
    """Write a plan as lines with a label each.

    Args:
        folder: The images.
        machine: What the run uses.
        request: What the user asked for.
        plan: With lengths and measured times.
        waiting: Share of a step of CAE that waits for images.
        out: Where the run writes.
    """
    rows = [
        ('images', _images(folder)),
        *([] if folder.is_plain else [('channels', _channels(folder))]),
        ('machine', machine_text(machine)),
        ('model', _model(plan)),
    ]
    if plan.start is not None:
        rows.append(('start', plan.start.describe()))
    if plan.tokenizer is not None:
        words = f'{plan.vocab_size} codes, trained on these images first; '
        rows.append(('tokenizer', words + _stage(plan.tokenizer)))
    rows += [
        ('CAE', _stage(plan.cae)),
        ('needs', _needs(plan, request, waiting)),
        *(('weak', note) for note in plan.notes),
        ('writes', str(out)),
    ]
    return '\n'.join(labeled_lines(rows))


def labeled_lines(rows: Iterable[tuple[str, str]]) -> list[str]:
    """Wrap texts into lines, with a label before each text.

    Args:
        rows: Labels and texts.
    """
    lines = []
    for label, text in rows:
        lines += textwrap.wrap(
            text,
            _WIDTH,
            initial_indent=f'{label:<{_LABEL}}',
            subsequent_indent=' ' * _LABEL,
            break_long_words=False,
            break_on_hyphens=False,
        )
    return lines


def _images(folder: Folder) -> str:
    formats = ', '.join(name for name, _ in folder.formats[:4])
    low, high = folder.sides
    sides = f'{low} to {high} px' if low != high else f'{low} px'
    parts = [f'{folder.images:,} ({formats}), short side {sides}']
    if folder.sampled < folder.images:
        parts.append(f'{folder.sampled} looked at')
    if folder.gray > 0.05:
        parts.append(f'{folder.gray:.0%} without color')
    if len(folder.subfolders) > 1:
        parts.append(f'in {len(folder.subfolders)} subfolders')
    return ', '.join(parts)


def _channels(folder: Folder) -> str:
    if folder.value_range is None:
        where = 'from 0 to 255'
    elif len(folder.value_range) == 1:
        where = f'range {_pair(folder.value_range[0])} becomes 0 to 255'
    else:
        pairs = _first(', ', map(_pair, folder.value_range))
        where = f'ranges {pairs} become 0 to 255'
    mean, std = (
        _first(' ', (f'{value:g}' for value in values))
        for values in (folder.mean, folder.std)
    )
    return (
        f'{kind_text(folder.channels, folder.depth)}, {where}; mean {mean}, '
        f'standard deviation {std}, measured on {folder.sampled} images'
    )


def _first(between: str, words: Iterable[str]) -> str:
    """Join words; of more than four, the first three stand for all."""
    words = list(words)
    shown = words if len(words) <= 4 else [*words[:3], '...']
    return between.join(shown)


def _pair(pair: tuple[float, float]) -> str:
    return f'{pair[0]:.5g}..{pair[1]:.5g}'


def machine_text(machine: Machine) -> str:
    """Write what a machine has: GPUs, cores, memory, disk."""
    gpus = [f'{g.name} ({size_text(g.free)} free)' for g in machine.gpus]
    cores = f'{machine.cores} core{"s" if machine.cores > 1 else ""}'
    return ', '.join(
        [
            *(gpus or ['no GPU']),
            cores,
            f'{size_text(machine.memory)} of memory',
            f'{size_text(machine.disk)} of disk free',
        ]
    )


def _model(plan: Plan) -> str:
    model = size_of(plan.size, plan.start).model
    side = plan.image_size
    threads = ''
    if plan.threads:
        threads = f', {plan.threads} thread{"s" if plan.threads > 1 else ""}'
    return (
        f'{plan.size} ({model}), images of {side} px, '
        f'{plan.grid} x {plan.grid} patches, half of them masked; '
        f'{plan.precision}{threads}'
    )


def _stage(stage: Stage) -> str:
    batch = f'{stage.batch_size} images'
    if stage.accumulation > 1:
        batch = f'{stage.accumulation} x {stage.batch_size} images'
    steps = stage.total_batches // stage.accumulation
    return (
        f'{stage.epochs:,} epochs, {steps:,} steps of {batch}, learning rate '
        f'{stage.lr:.2g}: {duration_text(stage.duration)}'
    )


def _needs(plan: Plan, request: Request, waiting: float) -> str:
    seconds = plan.cae.seconds or 0.0
    share = start = asked = ''
    if waiting > 0.2:
        share = f', {waiting:.0%} of it waiting for images'
    if plan.loading > 20:
        start = f', {duration_text(plan.loading)} to load the images first'
    if request.seconds is not None:
        asked = f' (of {duration_text(request.seconds)} asked for)'
    return (
        f'{duration_text(plan.duration)} in all{asked}, by a measured batch '
        f'of {1000 * seconds:,.0f} ms{share}{start}; '
        f'{size_text(plan.memory)} of memory, {size_text(plan.disk)} of disk'
    )


def size_text(number: int) -> str:
    """Write a number of bytes: ``850 MB``, ``12.3 GB``."""
    if number < 1e9:
        return f'{number / 1e6:.0f} MB'
    return f'{number / 1e9:.1f} GB'


def verdict(final: dict[str, float]) -> list[str]:
    """What the last values of a training warn of, a sentence each.

    Args:
        final: The last values of ``psnr`` and ``codes_used`` (of a
            tokenizer), or of ``acc`` and ``acc_position`` (of CAE).
    """
    warnings = []
    psnr, used = final.get('psnr'), final.get('codes_used')
    if used is not None and used < 3:
        warnings.append(
            f'the tokenizer collapsed: it uses {used:.0f} of its codes, and '
            'CAE can learn nothing from such tokens; give more --time, or '
            'other images'
        )
    elif psnr is not None and psnr < 17:
        warnings.append(
            f'the tokenizer draws coarse pictures ({psnr:.1f} dB, below 17): '
            'its tokens say little; give more --time'
        )
    acc, position = final.get('acc'), final.get('acc_position')
    if acc is not None and position is not None and acc < 1.2 * position:
        warnings.append(
            f'CAE predicts {acc:.0%} of the tokens, and the frequent token of '
            f'each position alone would give {position:.0%}: it has learned '
            'little from the images; give more --time'
        )
    return warnings


def next_steps(
    out: Path, plan: Plan, folder: Folder, cae: Path, seconds: float
) -> str:
    """What was made, and what to type next.

    Args:
        out: The run's folder.
        plan: The plan.
        folder: The images.
        cae: The checkpoint of CAE.
        seconds: That this command trained.
    """
    return '\n'.join(_next(out, plan, folder, cae, seconds))


def _next(
    out: Path, plan: Plan, folder: Folder, cae: Path, seconds: float
) -> Iterator[str]:
    yield f'Done in {duration_text(seconds)}.'
    yield f'{"encoder":<{_LABEL}}{cae}'
    if plan.tokenizer is not None:
        name = f'epoch_{plan.tokenizer.epochs}.pth'
        yield f'{"tokenizer":<{_LABEL}}{out / "tokenizer" / name}'
    yield f'{"configs":<{_LABEL}}{out}/*.py'
    yield f'{"logs":<{_LABEL}}{out}/cae/*/*.log'
    yield 'Next: what it predicts for an image, or the encoder for timm'
    yield _command('reconstruct', cae) + ' IMAGE'
    yield _command('export', cae, '--to', 'timm', '--out', out / 'timm')
    yield 'or features of images, for scikit-learn, a search or a plot'
    images = 'FOLDER' if folder.is_list else folder.name
    yield _command('extract', out / 'cae.py', cae, images, out / 'images.npz')
    if len(folder.subfolders) > 1:
        yield 'or what it is worth, if the subfolders are classes'
        yield _command('probe', cae, folder.name)
    yield 'or a classifier (PATH has train/CLASS and val/CLASS)'
    yield _command('train', out / 'finetune.py') + (
        ' --cfg-options data_root=PATH num_classes=N'
    )


def _command(verb: str, *words: object) -> str:
    return '  ' + ' '.join(['mmcae', verb, *(quote(str(w)) for w in words)])
