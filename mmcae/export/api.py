# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Export a trained model: `export`, and what it returns."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import nn

from mmcae.export.comparison import (
    Comparison,
    ExportError,
    check,
    compare,
    sample_batches,
)
from mmcae.export.description import describe
from mmcae.export.formats import FORMATS, TOLERANCES, Format
from mmcae.export.job import Job
from mmcae.export.portable import (
    choose_part,
    has_windows,
    make_part,
)
from mmcae.export.source import Source, read_source, source_of_model


@dataclass
class Exported:
    """What `export` wrote.

    Attributes:
        path: The file or the folder.
        to: The format.
        part: The exported part.
        size: Number of bytes.
        comparison: The measured differences; None if nothing was compared.
        metadata: What the file says about itself.
        notes: How to load it, and what to know about it.
    """

    path: Path
    to: str
    part: str
    size: int
    comparison: Comparison | None
    metadata: dict[str, Any]
    notes: list[str]

    def __str__(self) -> str:
        size = f'{self.size / 1e6:.1f} MB'
        outputs = ', '.join(self.metadata['outputs'])
        lines = [f'{self.path}: {self.to}, {self.part} ({outputs}), {size}']
        lines.append(str(self.comparison or 'not compared with the original'))
        return '\n'.join(lines + self.notes)


def export(
    checkpoint_or_model: str | os.PathLike | nn.Module,
    to: str,
    out: str | os.PathLike,
    *,
    part: str | None = None,
    pool: str | None = None,
    out_indices: Sequence[int] | None = None,
    dynamic_size: bool | None = None,
    precision: str = 'float32',
    num_heads: int | None = None,
    tolerance: float | None = None,
    check_outputs: bool = True,
) -> Exported:
    """Export a trained model, and compare it with the original.

    Args:
        checkpoint_or_model: The path of a checkpoint, which is enough, or a
            model with a `CAEViT`.
        to: One of `FORMATS`.
        out: The file to write, or the folder for ``'transformers'`` and
            ``'timm'``. It appears only after the comparison.
        part: ``'encoder'`` (pooled features and patch features),
            ``'classifier'`` (logits) or ``'dense'`` (feature maps). Defaults
            to what the model was trained as.
        pool: How an encoder pools; see `make_part`. Defaults to ``'mean'``,
            or to what the format can express: ``'cls'`` for timm and
            transformers, ``'normed_mean'`` for mmpretrain.
        out_indices: Blocks of a dense backbone; see `make_part`.
        dynamic_size: Whether the exported model takes images of all sizes.
            Defaults to True where the format can, unless the encoder attends
            in windows. The number of images is always free.
        precision: ``'float32'``; for ONNX also ``'float16'`` and ``'int8'``
            (weights in eight bits, quantized by onnxruntime).
        num_heads: Number of attention heads, where neither the tensors nor
            the file say it.
        tolerance: Largest relative difference that is allowed. Defaults to
            the one of `TOLERANCES`.
        check_outputs: Whether the exported file is loaded, run and compared
            with the original. False also works without the other library.

    Returns:
        What was written, with the measured differences.

    Raises:
        ExportError: If the format cannot hold the model, a library is
            missing, or the outputs differ by more than the tolerance. No
            file is left then.
        ValueError: If the checkpoint has no model that can be rebuilt.
        FileNotFoundError: If there is no checkpoint.
    """
    form = FORMATS.get(to)
    if form is None:
        raise ExportError(f'to={to!r} is none of {", ".join(FORMATS)}')
    target = Path(out).expanduser()
    _check_target(target, to, form)
    if precision not in form.precisions:
        able = ' or '.join(form.precisions)
        raise ExportError(f'precision={precision!r}: {to} holds {able}')
    if isinstance(checkpoint_or_model, nn.Module):
        source = source_of_model(checkpoint_or_model)
    else:
        source = read_source(checkpoint_or_model, num_heads)
    module = import_module(f'mmcae.export.{form.module}')
    job = _make_job(
        source, to, form, module, part, pool, out_indices, dynamic_size
    )
    job.precision = precision
    run_by = module.runtime() if check_outputs else None
    job.metadata.update(
        describe(source, job.part, precision, job.any_size, run_by)
    )
    limit = TOLERANCES[precision] if tolerance is None else tolerance
    with _scratch_folder(target) as folder:
        written = folder / target.name
        module.write(job, written)
        comparison = None
        if run_by:
            comparison = compare(
                job.part,
                module.load(job, written),
                module.batches(job)
                if hasattr(module, 'batches')
                else sample_batches(job.part, job.any_size),
                run_by,
            )
            check(comparison, limit)
        size = _move(written, target)
    notes = [note.replace('{path}', str(target)) for note in job.notes]
    return Exported(
        target, to, job.part.name, size, comparison, job.metadata, notes
    )


def _check_target(target: Path, to: str, form: Format) -> None:
    suffix = target.suffix.lower()
    folder = '' in form.suffixes and suffix not in form.suffixes[1:]
    if not folder and suffix not in form.suffixes:
        names = ' or '.join(form.suffixes)
        raise ExportError(f'{target} must end in {names} for {to}')
    if folder and target.exists() and not target.is_dir():
        raise ExportError(f'{target} is a file; {to} writes a folder')
    if not folder and target.is_dir():
        raise ExportError(f'{target} is a folder; give the name of a file')


def _make_job(
    source: Source,
    to: str,
    form: Format,
    module: Any,
    part: str | None,
    pool: str | None,
    out_indices: Sequence[int] | None,
    dynamic_size: bool | None,
) -> Job:
    name = choose_part(source, part)
    if name not in form.parts:
        raise ExportError(
            f'part={name!r}: {to} holds {" or ".join(form.parts)}'
        )
    if pool is not None and name != 'encoder':
        raise ExportError(f"pool={pool!r} is for part='encoder', not {name}")
    if out_indices is not None and name != 'dense':
        raise ExportError(f"out_indices are for part='dense', not {name}")
    if name == 'encoder' and source.encoder.final_norm:
        pool = pool or getattr(module, 'DEFAULT_POOL', None)
    made = make_part(source, name, pool, out_indices)
    able = any_size_fits(source, form)
    if dynamic_size and not able:
        raise ExportError(
            f'dynamic_size=True: {to} holds this model for one size; see the '
            'table of docs/export.md'
        )
    any_size = able if dynamic_size is None else dynamic_size
    return Job(source, made, 'float32', any_size)


def any_size_fits(source: Source, form: Format) -> bool:
    """Whether a format can hold a model for images of all sizes."""
    if has_windows(source.encoder):
        return False
    biased = any(layer.attn.bias_grid for layer in source.encoder.layers)
    return form.any_size == 'always' or (
        form.any_size == 'without_bias' and not biased
    )


@contextmanager
def _scratch_folder(target: Path) -> Iterator[Path]:
    """Make a folder beside the target, on the same disk; remove it later."""
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix='.mmcae-export-', dir=target.parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _move(written: Path, target: Path) -> int:
    """Give the written file, or the files of a folder, their final names.

    Returns:
        The number of bytes.
    """
    if not written.is_dir():
        os.replace(written, target)
        return target.stat().st_size
    target.mkdir(exist_ok=True)
    files = sorted(path for path in written.iterdir())
    for path in files:
        os.replace(path, target / path.name)
    return sum((target / path.name).stat().st_size for path in files)
