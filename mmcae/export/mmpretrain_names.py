# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Tensors and config of mmpretrain's own ``BEiTViT``."""

from torch import Tensor

from mmcae.checkpoint.encoder_args import encoder_args
from mmcae.export.encoder_tensors import (
    encoder_tensors,
    model_tensors,
    refuse_probes,
)

# Sizes that mmpretrain and the authors share; mmpretrain's 'small' differs.
SIZES = {
    name: dict(
        embed_dims=dims,
        num_layers=layers,
        num_heads=heads,
        feedforward_channels=4 * dims,
    )
    for name, dims, layers, heads in (
        ('base', 768, 12, 12),
        ('large', 1024, 24, 16),
    )
}


def classifier_tensors(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a fine-tuned classifier or a linear probe.

    Raises:
        ValueError: If mmpretrain has no model for them.
    """
    refuse_probes(state, 'mmpretrain', 'head.query_token')
    known = ('backbone.', 'head.fc.', 'neck.bn.')
    kept = {
        key: value
        for key, value in state.items()
        if not key.startswith('data_preprocessor.')
    }
    foreign = [key for key in kept if not key.startswith(known)]
    if foreign:
        raise ValueError(
            f'mmpretrain has no model with the tensors '
            f'{", ".join(foreign[:5])}'
        )
    return kept


def model_config(
    state: dict[str, Tensor], num_heads: int | None = None
) -> dict:
    """Return the config of mmpretrain's ``ImageClassifier``.

    Args:
        state: The converted tensors.
        num_heads: Number of attention heads; None if the width tells it.

    Raises:
        ValueError: If the sizes do not follow from the tensors.
    """
    args = encoder_args(state, num_heads)
    dims = args['arch']['embed_dims']
    for name, size in SIZES.items():
        if args['arch'] == size:
            args['arch'] = name
    pooled = 'backbone.ln2.weight' in state
    model = dict(
        type='ImageClassifier',
        backbone=dict(
            type='BEiTViT',
            **args,
            out_type='avg_featmap' if pooled else 'cls_token',
            final_norm='backbone.ln1.weight' in state,
        ),
    )
    if 'neck.bn.running_mean' in state:
        model['neck'] = dict(
            type='ClsBatchNormNeck', input_features=dims, eps=1e-6
        )
    if 'head.fc.weight' in state:
        model['head'] = dict(
            type='LinearClsHead',
            num_classes=len(state['head.fc.weight']),
            in_channels=dims,
        )
    return model


def preprocessor(normalization: dict[str, list[float]]) -> dict:
    """Return the arguments of mmpretrain's ``ClsDataPreprocessor``.

    Args:
        normalization: ``mean`` and ``std`` of RGB values from 0 to 1.
    """
    pixels = {
        name: [round(255 * value, 4) for value in values]
        for name, values in normalization.items()
    }
    return dict(**pixels, to_rgb=True)


def convert_to_mmpretrain(
    checkpoint: dict, pool: str = 'avg', num_heads: int | None = None
) -> tuple[dict[str, Tensor], dict]:
    """Convert a checkpoint.

    Args:
        checkpoint: A checkpoint of pretraining, fine-tuning or linear
            probing.
        pool: For an encoder: with ``'avg'``, its final norm becomes the norm
            of the mean patch token, which mmpretrain would otherwise leave
            at its initial values; with ``'token'``, it stays the final norm.
        num_heads: See :func:`model_config`.

    Returns:
        A state dict for mmpretrain's ``ImageClassifier``, and its config.

    Raises:
        ValueError: If it cannot be converted; the message says why.
    """
    state = model_tensors(checkpoint)
    if 'head.fc.weight' in state:
        state = classifier_tensors(state)
    else:
        state = encoder_tensors(state)
        if pool == 'avg':
            for leaf in ('weight', 'bias'):
                state[f'backbone.ln2.{leaf}'] = state.pop(
                    f'backbone.ln1.{leaf}'
                )
    return state, model_config(state, num_heads)
