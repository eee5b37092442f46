# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""mmpretrain's own ``BEiTViT``, for where mmcae is not installed."""

import pprint
from pathlib import Path
from typing import Any

import torch
from mmpretrain.registry import MODELS
from torch import Tensor

from mmcae.checkpoint.normalization import IMAGENET
from mmcae.checkpoint.reading import read_checkpoint
from mmcae.checkpoint.writing import write_weights
from mmcae.export.comparison import Run, version_of
from mmcae.export.job import Job
from mmcae.export.mmpretrain_names import (
    convert_to_mmpretrain,
    preprocessor,
)
from mmcae.export.plain_weights import plain_weights

DEFAULT_POOL = 'normed_mean'


def runtime() -> str:
    """What runs the exported model."""
    return version_of('onedl-mmpretrain')


def converted(job: Job) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return a state dict for ``ImageClassifier``, and its config."""
    plain = plain_weights(job, 'mmpretrain')
    heads = job.source.num_heads
    if job.part.name == 'classifier':
        return convert_to_mmpretrain(job.source.tensors, num_heads=heads)
    state, config = convert_to_mmpretrain(plain.encoder, plain.pool, heads)
    if job.part.name == 'dense':
        state = {
            key: value
            for key, value in state.items()
            if not key.startswith(('backbone.ln1.', 'backbone.ln2.'))
        }
        config['backbone'].update(
            out_type='featmap',
            final_norm=False,
            out_indices=list(job.part.encoder.out_indices),
        )
    return state, config


def write(job: Job, path: Path) -> None:
    """Write the weights; the lines of a config become notes."""
    state, config = converted(job)
    header = {**job.metadata, 'tensor_names': 'mmpretrain', 'format': 'pt'}
    write_weights(state, path, {**header, 'mmpretrain_config': config})
    text = pprint.pformat(config, sort_dicts=False, width=79)
    recorded = job.source.normalization
    if recorded is None:
        job.notes.append(
            '# The checkpoint does not record how images were normalized; '
            "this is ImageNet's:"
        )
    job.notes += [
        f'model = {text}',
        f'data_preprocessor = {preprocessor(recorded or IMAGENET)}',
        "load_from = '{path}'",
    ]


def load(job: Job, path: Path) -> Run:
    """Return a function that runs the exported model in mmpretrain."""
    model = MODELS.build(converted(job)[1])
    state = read_checkpoint(path)['state_dict']
    model.load_state_dict(state, strict=True)
    model.eval()

    @torch.no_grad()
    def run(images: Tensor) -> list[Tensor]:
        if job.part.name == 'classifier':
            return [model(images)]
        outputs = list(model.backbone(images))
        if job.part.name == 'dense':
            return outputs
        pooled = model.backbone.out_type
        model.backbone.out_type = 'raw'
        patches = model.backbone(images)[-1][:, 1:]
        model.backbone.out_type = pooled
        return [outputs[-1], patches]

    return run
