# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""timm's ``Beit``: a file of weights, or a folder for ``local-dir:``."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmcae.checkpoint.writing import write_weights
from mmcae.export.comparison import Run, version_of
from mmcae.export.description import as_texts
from mmcae.export.job import Job
from mmcae.export.plain_weights import plain_weights
from mmcae.export.timm_names import convert_to_timm

DEFAULT_POOL = 'cls'
#: A name that timm knows. The arguments in the folder replace its sizes.
ARCHITECTURE = 'beit_base_patch16_224'
WEIGHTS_FILE, CONFIG_FILE = 'model.safetensors', 'config.json'


def runtime() -> str:
    """What runs the exported model."""
    return version_of('timm')


def converted(job: Job) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return a state dict for ``Beit``, and its arguments."""
    plain = plain_weights(job, 'timm')
    state, args = convert_to_timm(
        plain.encoder, plain.pool, job.source.num_heads
    )
    if plain.head is not None:
        state['head.weight'], state['head.bias'] = plain.head
        args['num_classes'] = len(plain.head[0])
    return state, args


def write(job: Job, path: Path) -> None:
    """Write a file of weights, or a folder with its config."""
    state, args = converted(job)
    header = {
        **job.metadata,
        'format': 'pt',
        'tensor_names': 'timm',
        'architecture': 'timm.models.beit.Beit',
        'timm_args': json.dumps(args),
    }
    if path.suffix:
        write_weights(state, path, header)
        call = ', '.join(f'{key}={value!r}' for key, value in args.items())
        job.notes += [
            'from timm.models import load_checkpoint',
            'from timm.models.beit import Beit',
            f'model = Beit({call})',
            "load_checkpoint(model, '{path}')",
        ]
        return
    path.mkdir()
    write_weights(state, path / WEIGHTS_FILE, header)
    text = json.dumps(folder_config(job, args), indent=2)
    (path / CONFIG_FILE).write_text(text + '\n')
    job.notes += [
        "model = timm.create_model('local-dir:{path}', pretrained=True)"
    ]
    if job.source.normalization is None:
        job.notes.append(
            'the checkpoint does not record how images were normalized: add '
            f'mean and std to pretrained_cfg in {{path}}/{CONFIG_FILE}'
        )


def folder_config(job: Job, args: dict[str, Any]) -> dict[str, Any]:
    """Return the content of ``config.json`` in timm's layout."""
    size = args['img_size']
    pretrained: dict[str, Any] = dict(
        input_size=[args['in_chans'], *size],
        fixed_input_size=True,
        interpolation='bicubic',
        crop_pct=1.0,
        num_classes=args['num_classes'],
        first_conv='patch_embed.proj',
        classifier='head',
        **(job.source.normalization or {}),
    )
    config = dict(
        architecture=ARCHITECTURE,
        num_classes=args['num_classes'],
        num_features=args['embed_dim'],
        global_pool=args['global_pool'],
        model_args={k: v for k, v in args.items() if k != 'num_classes'},
        pretrained_cfg=pretrained,
        mmcae=as_texts(job.metadata),
    )
    if job.part.name == 'classifier' and job.source.class_names:
        pretrained['label_names'] = job.source.class_names
    return config


def load(job: Job, path: Path) -> Run:
    """Return a function that runs the exported model in timm."""
    import timm
    from timm.models import load_checkpoint
    from timm.models.beit import Beit

    model: Any
    if path.suffix:
        model = Beit(**converted(job)[1])
        load_checkpoint(model, str(path), strict=True)
    else:
        model = timm.create_model(f'local-dir:{path}', pretrained=True)
    model.eval()

    @torch.no_grad()
    def run(images: Tensor) -> list[Tensor]:
        if job.part.name == 'dense':
            indices = job.part.encoder.out_indices
            return model.forward_intermediates(
                images, indices=indices, intermediates_only=True
            )
        if job.part.name == 'classifier':
            return [model(images)]
        return [model(images), model.forward_features(images)[:, 1:]]

    return run
