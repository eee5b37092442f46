# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""A folder that ``AutoModel.from_pretrained`` of transformers reads."""

import json
from pathlib import Path

import torch
from torch import Tensor

from mmcae.checkpoint.writing import write_weights
from mmcae.export.comparison import Run, sample_batches, version_of
from mmcae.export.description import as_texts
from mmcae.export.job import Job
from mmcae.export.plain_weights import plain_weights
from mmcae.export.transformers_names import (
    beit_config,
    convert_to_transformers,
    processor_config,
)

DEFAULT_POOL = 'cls'
WEIGHTS_FILE, CONFIG_FILE = 'model.safetensors', 'config.json'
PROCESSOR_FILE = 'preprocessor_config.json'
LOADERS = {
    'encoder': 'AutoModel',
    'classifier': 'AutoModelForImageClassification',
    # AutoBackbone of transformers 5.24 does not accept local folders.
    'dense': 'BeitBackbone',
}


def runtime() -> str:
    """What runs the exported model."""
    return version_of('transformers')


def write(job: Job, path: Path) -> None:
    """Write config, weights and, if it is known, the normalization."""
    plain = plain_weights(job, 'transformers')
    source, part = job.source, job.part
    state = convert_to_transformers(plain)
    config = beit_config(
        plain,
        source.num_heads,
        part.encoder.out_indices if part.name == 'dense' else None,
        source.class_names,
    )
    if part.name == 'dense':
        # The backbone has neither final norm nor pooling.
        state = {k: v for k, v in state.items() if 'layernorm.' not in k}
        config['use_mean_pooling'] = True
    config['mmcae'] = as_texts(job.metadata)
    path.mkdir()
    header = {**job.metadata, 'format': 'pt', 'tensor_names': 'transformers'}
    write_weights(state, path / WEIGHTS_FILE, header)
    (path / CONFIG_FILE).write_text(json.dumps(config, indent=2) + '\n')
    loader = LOADERS[part.name]
    job.notes.append(
        f"model = transformers.{loader}.from_pretrained('{{path}}')"
    )
    if source.normalization is None:
        job.notes.append(
            'the checkpoint does not record how images were normalized, so '
            f'there is no {PROCESSOR_FILE}'
        )
        return
    processor = processor_config(part.encoder.img_size, source.normalization)
    (path / PROCESSOR_FILE).write_text(json.dumps(processor, indent=2) + '\n')


def batches(job: Job) -> list[Tensor]:
    """Images of whole patches: ``Beit`` crops others, and CAE pads them."""
    return sample_batches(job.part, job.any_size)[:3]


def load(job: Job, path: Path) -> Run:
    """Return a function that runs the exported model in transformers."""
    import transformers

    loader = getattr(transformers, LOADERS[job.part.name])
    model = loader.from_pretrained(str(path)).eval()

    @torch.no_grad()
    def run(images: Tensor) -> list[Tensor]:
        out = model(images)
        if job.part.name == 'dense':
            return list(out.feature_maps)
        if job.part.name == 'classifier':
            return [out.logits]
        return [out.pooler_output, out.last_hidden_state[:, 1:]]

    return run
