# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""safetensors with mmcae's names: for publication, and to load again."""

from pathlib import Path
from typing import Any

from mmcae.checkpoint.writing import write_weights
from mmcae.export.comparison import Run
from mmcae.export.job import Job
from mmcae.export.portable import make_part
from mmcae.export.publishing import KEPT_META, LEFT_OUT
from mmcae.export.source import Source, read_source
from mmcae.models import CAEViT
from mmcae.version import __version__


def runtime() -> str:
    """What runs the written file."""
    return f'mmcae {__version__}, which read the file again'


def encoder_settings(encoder: CAEViT) -> dict[str, Any]:
    """Arguments of an encoder that its tensors do not show."""
    windows = [layer.attn.window_size for layer in encoder.layers]
    settings: dict[str, Any] = dict(
        arch=dict(encoder.arch_settings),
        img_size=list(encoder.img_size),
        out_indices=list(encoder.out_indices),
        interpolate_mode=encoder.interpolate_mode,
    )
    if any(windows):
        settings['window_size'] = next(list(w) for w in windows if w)
        settings['global_indices'] = [
            i for i, window in enumerate(windows) if window is None
        ]
    if encoder.final_norm == 'every':
        settings['final_norm'] = 'every'
    return settings


def write(job: Job, path: Path) -> None:
    """Write all weights of the checkpoint, without teacher and tokenizer."""
    write_source(job.source, path, job.metadata)
    job.notes.append(
        "load it: load_from, Pretrained or get_model(..., pretrained='{path}')"
    )


def write_source(source: Source, path: Path, metadata: dict[str, Any]) -> str:
    """Write the weights of a source, without teacher and tokenizer.

    Args:
        source: The model.
        path: The file.
        metadata: More metadata than the checkpoint's own.

    Returns:
        The SHA-256 of the file.
    """
    state = {
        key: value
        for key, value in source.tensors.items()
        if not key.startswith(LEFT_OUT)
    }
    kept = {key: source.meta[key] for key in KEPT_META if key in source.meta}
    if source.class_names:
        kept['dataset_meta'] = {'classes': source.class_names}
    if source.normalization:
        kept['normalization'] = source.normalization
    header = {
        **kept,
        **source.header,
        **metadata,
        'format': 'pt',
        'tensor_names': 'mmcae',
        'encoder_args': encoder_settings(source.encoder),
    }
    return write_weights(state, path, header)


def load(job: Job, path: Path) -> Run:
    """Return a function that runs the model of the file."""
    source = read_source(path, job.source.num_heads)
    dense = job.part.name == 'dense'
    indices = job.part.encoder.out_indices if dense else None
    part = make_part(source, job.part.name, job.part.pool, indices)
    return part.original
