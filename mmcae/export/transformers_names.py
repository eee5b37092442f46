# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Tensors and config of transformers' ``Beit``, which CAE's encoder is.

``BeitModel`` has all that the encoder has, and computes the same: biases of
queries and values without one of the keys, layer scales, absolute positions
(``use_absolute_position_embeddings``), relative position biases in each
block, and a final norm or a norm of the mean (``use_mean_pooling``). ``ViT``
has no layer scales, and ``Data2VecVision`` is a copy of ``Beit``. The names
are those that transformers 4 writes; transformers 5 renames them on loading.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mmcae.checkpoint.encoder_args import encoder_args
from mmcae.checkpoint.foreign_names import (
    TRANSFORMERS_BLOCK,
    TRANSFORMERS_EMBEDDINGS,
)
from mmcae.export.plain_weights import PlainWeights

_EPS = 1e-6


def convert_to_transformers(plain: PlainWeights) -> dict[str, Tensor]:
    """Rename an encoder for ``BeitModel``.

    Args:
        plain: Encoder, pooling and head.

    Returns:
        A state dict for ``BeitModel``; with a head, for
        ``BeitForImageClassification``.
    """
    norm = 'layernorm' if plain.pool == 'token' else 'pooler.layernorm'
    state: dict[str, Tensor] = {}
    for key, value in plain.encoder.items():
        name = key.removeprefix('backbone.')
        if name.endswith('.relative_position_index'):
            continue  # transformers derives it
        if name.startswith('layers.'):
            state.update(_block_tensors(name, value, plain.encoder))
            continue
        for ours, theirs in {**TRANSFORMERS_EMBEDDINGS, 'ln1': norm}.items():
            if name == ours or name.startswith(ours + '.'):
                state[theirs + name.removeprefix(ours)] = value
    if plain.head is None:
        return state
    return {
        **{f'beit.{key}': value for key, value in state.items()},
        'classifier.weight': plain.head[0],
        'classifier.bias': plain.head[1],
    }


def _block_tensors(
    name: str, value: Tensor, encoder: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    _, index, rest = name.split('.', 2)
    block = f'encoder.layer.{index}.'
    attention = f'{block}attention.attention.'
    if rest == 'attn.qkv.weight':
        names = ('query', 'key', 'value')
        parts = zip(names, value.chunk(3), strict=True)
        state = {f'{attention}{part}.weight': w for part, w in parts}
        return state | _biases(
            f'backbone.layers.{index}.attn.',
            encoder,
            {
                'q_bias': f'{attention}query.bias',
                'v_bias': f'{attention}value.bias',
            },
        )
    for ours, theirs in TRANSFORMERS_BLOCK.items():
        if rest == ours or rest.startswith(ours + '.'):
            return {block + theirs + rest.removeprefix(ours): value}
    return {}  # the biases, which come with the weight


def _biases(
    attention: str, encoder: Mapping[str, Tensor], names: dict[str, str]
) -> dict[str, Tensor]:
    """Biases of queries and values; zeros if the encoder has none.

    A bias of the keys adds the same number to all scores of a query, which
    the softmax cancels.
    """
    whole = encoder.get(f'{attention}qkv.bias')
    if whole is not None:
        query, _, value = whole.chunk(3)
        found = {'q_bias': query, 'v_bias': value}
    else:
        width = encoder[f'{attention}qkv.weight'].shape[1]
        found = {
            name: encoder.get(attention + name, torch.zeros(width))
            for name in names
        }
    return {names[name]: bias for name, bias in found.items()}


def beit_config(
    plain: PlainWeights,
    num_heads: int,
    out_indices: list[int] | None = None,
    class_names: list[str] | None = None,
) -> dict[str, Any]:
    """Make the config of a ``Beit``.

    Args:
        plain: Encoder, pooling and head.
        num_heads: Number of attention heads.
        out_indices: Blocks of a dense backbone, counted from 0; else None.
        class_names: Names of the classes, if they are known.

    Returns:
        The content of ``config.json``.

    Raises:
        ValueError: If ``Beit`` cannot have these sizes.
    """
    args = encoder_args(plain.encoder, num_heads)
    arch = args['arch']
    rows, columns = args['patch_size']
    if rows != columns:
        raise ValueError(
            f'transformers needs square patches, not {rows}x{columns}'
        )
    kind = 'BeitModel'
    if plain.head is not None:
        kind = 'BeitForImageClassification'
    if out_indices is not None:
        kind = 'BeitBackbone'
    config: dict[str, Any] = dict(
        architectures=[kind],
        model_type='beit',
        hidden_size=arch['embed_dims'],
        num_hidden_layers=arch['num_layers'],
        num_attention_heads=arch['num_heads'],
        intermediate_size=arch['feedforward_channels'],
        hidden_act='gelu',
        layer_norm_eps=_EPS,
        image_size=args['img_size'][0],
        patch_size=rows,
        num_channels=args['in_channels'],
        use_mask_token=False,
        use_absolute_position_embeddings=args['use_abs_pos_emb'],
        use_relative_position_bias=args['use_rel_pos_bias'],
        use_shared_relative_position_bias=False,
        use_mean_pooling=plain.pool == 'avg',
        layer_scale_init_value=args['layer_scale_init_value'],
        drop_path_rate=0.0,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        dtype='float32',
    )
    if out_indices is not None:
        # transformers counts the embedding as the first stage.
        config['out_indices'] = [index + 1 for index in out_indices]
        config['out_features'] = [f'stage{i + 1}' for i in out_indices]
    if plain.head is not None:
        count = len(plain.head[0])
        names = class_names or [f'LABEL_{i}' for i in range(count)]
        config['id2label'] = {str(i): name for i, name in enumerate(names)}
        config['label2id'] = {name: i for i, name in enumerate(names)}
    return config


def processor_config(
    size: tuple[int, int], normalization: dict[str, list[float]]
) -> dict[str, Any]:
    """Make the content of ``preprocessor_config.json``.

    Args:
        size: Height and width of the images.
        normalization: ``mean`` and ``std`` of RGB values in 0..1.
    """
    height, width = size
    return dict(
        image_processor_type='BeitImageProcessor',
        do_resize=True,
        size=dict(height=height, width=width),
        resample=3,  # bicubic
        do_center_crop=False,
        do_rescale=True,
        rescale_factor=1 / 255,
        do_normalize=True,
        image_mean=normalization['mean'],
        image_std=normalization['std'],
        do_reduce_labels=False,
    )
