# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""What timm, transformers and mmpretrain can hold: an encoder, one layer."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from mmcae.export.comparison import ExportError
from mmcae.export.encoder_tensors import refuse_probes
from mmcae.export.job import Job
from mmcae.export.portable import has_windows

_BN = 'neck.bn.'


class PlainWeights(NamedTuple):
    """An encoder, its pooling, and the linear layer of a classifier.

    Attributes:
        encoder: Tensors under mmcae's names, with the prefix ``backbone.``
            and a norm ``backbone.ln1``.
        pool: ``'token'``: the norm is applied to all tokens, and the output
            is the class token. ``'avg'``: the norm is applied to the mean of
            the patch tokens.
        head: Weight ``(num_classes, D)`` and bias; None without a classifier.
    """

    encoder: dict[str, Tensor]
    pool: str
    head: tuple[Tensor, Tensor] | None


def plain_weights(job: Job, library: str) -> PlainWeights:
    """Reduce a model to what other libraries have.

    The batch normalization of a linear probe becomes a part of its linear
    layer.

    Args:
        job: What to export.
        library: Name of the library, for messages.

    Raises:
        ExportError: If the library has no such model.
        ValueError: If it has no such probe.
    """
    source, part = job.source, job.part
    if has_windows(source.encoder):
        raise ExportError(
            f'{library} has no encoder that attends in windows; export to '
            'onnx, torchscript or torch-export'
        )
    if part.pool == 'mean':
        raise ExportError(
            f"pool='mean': {library} cannot pool so. Take pool='cls', and "
            'average its normalized patch tokens yourself'
        )
    tensors = source.tensors
    encoder = {k: v for k, v in tensors.items() if k.startswith('backbone.')}
    pool = 'token' if part.pool == 'cls' else 'avg'
    if 'backbone.ln1.weight' in encoder:
        encoder.pop('backbone.ln2.weight', None)
        encoder.pop('backbone.ln2.bias', None)
        pool = 'token' if part.name != 'encoder' else pool
    elif 'backbone.ln2.weight' in encoder:
        pool = 'avg'
        for leaf in ('weight', 'bias'):
            norm = encoder.pop(f'backbone.ln2.{leaf}')
            encoder[f'backbone.ln1.{leaf}'] = norm
    else:  # a dense backbone does not use the norm
        pool = 'token'
        width = source.encoder.embed_dims
        encoder['backbone.ln1.weight'] = torch.ones(width)
        encoder['backbone.ln1.bias'] = torch.zeros(width)
    head = None
    if part.name == 'classifier':
        refuse_probes(tensors, library, 'head.query_token')
        head = folded_head(job)
    return PlainWeights(encoder, pool, head)


def folded_head(job: Job) -> tuple[Tensor, Tensor]:
    """Return a classifier's linear layer with its batch normalization.

    In evaluation, ``W ((x - mean) / sqrt(var + eps)) + b`` is one linear
    layer.
    """
    tensors = job.source.tensors
    weight, bias = tensors['head.fc.weight'], tensors['head.fc.bias']
    if _BN + 'running_mean' not in tensors:
        return weight, bias
    assert job.source.classifier is not None
    neck = job.source.classifier.neck
    assert neck is not None
    norm: Any = neck.bn
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    folded = weight.double() * scale
    shift = folded @ norm.running_mean.double()
    return folded.to(weight), (bias.double() - shift).to(bias)
