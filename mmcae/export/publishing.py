# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Write the weights of a training checkpoint for publication."""

import os
from pathlib import Path

from mmcae.checkpoint.file_header import file_header
from mmcae.checkpoint.load_report import LoadReport, conversion_report
from mmcae.checkpoint.official import convert_if_official
from mmcae.checkpoint.reading import read_with_digest, write_weights
from mmcae.checkpoint.weights import meta_of, weights_of

LEFT_OUT = ('teacher.', 'target_generator.', 'data_preprocessor.')
KEPT_META = (
    'mmengine_version',
    'epoch',
    'iter',
    'dataset_meta',
    'tokenizer',
    'experiment_name',
)


def published_weights(checkpoint: dict) -> tuple[dict, dict]:
    """Return the weights to publish, and the metadata that describes them."""
    checkpoint = convert_if_official(checkpoint)
    state_dict = {
        key: value
        for key, value in weights_of(checkpoint).items()
        if not key.startswith(LEFT_OUT)
    }
    meta = meta_of(checkpoint)
    return state_dict, {key: meta[key] for key in KEPT_META if key in meta}


def publish(source: Path, target: Path) -> tuple[Path, LoadReport]:
    """Write the published file.

    Returns:
        Its path with the hash in the name, and a report on the tensors.
    """
    checkpoint, digest = read_with_digest(source)
    state_dict, meta = published_weights(checkpoint)
    meta = {**meta, **file_header(state_dict, source, digest, checkpoint)}
    digest = write_weights(state_dict, target, meta)
    final = target.with_name(f'{target.stem}-{digest[:8]}{target.suffix}')
    os.replace(target, final)
    title = f'Written to {final}'
    return final, conversion_report(title, weights_of(checkpoint), state_dict)
