# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Tensors and arguments of timm's ``Beit``. timm itself is not needed."""

from torch import Tensor

from mmcae.checkpoint.encoder_args import encoder_args
from mmcae.checkpoint.official import to_official
from mmcae.export.encoder_tensors import (
    encoder_tensors,
    model_tensors,
    refuse_probes,
)


def split_biases(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Replace each bias of queries, keys and values by the two of ``Beit``.

    ``Beit`` has no bias of the keys. It would add the same number to all
    scores of a query, which the softmax cancels, so the outputs stay equal.
    """
    split = {}
    for key, value in state.items():
        if key.endswith('.attn.qkv.bias'):
            stem = key.removesuffix('qkv.bias')
            split[stem + 'q_bias'], _, split[stem + 'v_bias'] = value.chunk(3)
        else:
            split[key] = value
    return split


def timm_args(
    state: dict[str, Tensor], pool: str, num_heads: int | None
) -> dict[str, object]:
    """Derive the arguments of ``Beit`` from an encoder's tensors.

    Args:
        state: Tensors with mmcae's names.
        pool: ``'token'`` or ``'avg'``.
        num_heads: Number of attention heads; None if the width tells it.

    Raises:
        ValueError: If the number of heads or the size of the images does not
            follow from the tensors.
    """
    args = encoder_args(state, num_heads)
    arch = args['arch']
    head = state.get('head.fc.weight')
    return dict(
        img_size=args['img_size'],
        patch_size=args['patch_size'],
        in_chans=args['in_channels'],
        num_classes=0 if head is None else len(head),
        global_pool=pool,
        embed_dim=arch['embed_dims'],
        depth=arch['num_layers'],
        num_heads=arch['num_heads'],
        qkv_bias=bool(args['bias']),
        mlp_ratio=arch['feedforward_channels'] / arch['embed_dims'],
        init_values=args['layer_scale_init_value'] or None,
        use_abs_pos_emb=args['use_abs_pos_emb'],
        use_rel_pos_bias=args['use_rel_pos_bias'],
    )


def convert_to_timm(
    checkpoint: dict, pool: str = 'token', num_heads: int | None = None
) -> tuple[dict[str, Tensor], dict[str, object]]:
    """Convert a checkpoint.

    Args:
        checkpoint: A checkpoint of pretraining or of fine-tuning.
        pool: For an encoder: with ``'token'``, its final norm is applied to
            all tokens; with ``'avg'``, it becomes the norm of the mean patch
            token, as in fine-tuning.
        num_heads: See :func:`timm_args`.

    Returns:
        A state dict for timm's ``Beit``, and the arguments of ``Beit``.

    Raises:
        ValueError: If it cannot be converted; the message says why.
    """
    state = model_tensors(checkpoint)
    if 'head.fc.weight' in state:
        refuse_probes(
            state, 'timm', 'neck.bn.running_mean', 'head.query_token'
        )
        pool = 'avg'
        renamed = to_official(state)
    else:
        official = to_official(encoder_tensors(state))
        renamed = {k.removeprefix('encoder.'): v for k, v in official.items()}
        if pool == 'avg':
            for leaf in ('weight', 'bias'):
                renamed[f'fc_norm.{leaf}'] = renamed.pop(f'norm.{leaf}')
    renamed = {
        k: v
        for k, v in split_biases(renamed).items()
        if not k.endswith('.relative_position_index')  # timm derives it
    }
    return renamed, timm_args(state, pool, num_heads)
