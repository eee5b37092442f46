# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Find the arguments of an encoder from the shapes of its tensors."""

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mmcae.checkpoint.printable import printable

# Number of heads in the authors' sizes, by width. Of the tensors, only those
# of relative positions depend on the number of heads.
HEADS = {384: 12, 768: 12, 1024: 16}


def _side(number: int, what: str) -> int:
    side = math.isqrt(number)
    if side * side != number:
        raise ValueError(f'{what} has {number} entries: not a square grid')
    return side


def _num_heads(dims: int, table: Tensor | None, num_heads: int | None) -> int:
    if table is not None:
        return table.shape[1]
    num_heads = num_heads or HEADS.get(dims)
    if num_heads is None:
        raise ValueError(
            f"width {dims} is not a size of the authors' encoders: give the "
            'number of heads with --num-heads'
        )
    if dims % num_heads:
        raise ValueError(f'{num_heads} heads do not divide the width {dims}')
    return num_heads


def _bias(state: Mapping[str, Tensor], attention: str) -> str | bool:
    if attention + 'q_bias' in state:
        return 'qv_bias'
    return attention + 'qkv.bias' in state


def encoder_args(
    state: Mapping[str, Tensor], num_heads: int | None = None
) -> dict[str, Any]:
    """Find the arguments of ``CAEViT`` and ``BEiTViT`` for some tensors.

    Args:
        state: Tensors with mmcae's names; those of the encoder begin with
            ``backbone.``.
        num_heads: Number of heads, used if no tensor depends on it.

    Returns:
        Keyword arguments that both classes accept.

    Raises:
        ValueError: If there is no encoder, or if the tensors do not
            determine the number of heads or the image size.
    """
    kernel = state.get('backbone.patch_embed.projection.weight')
    first = 'backbone.layers.0.'
    hidden = state.get(first + 'ffn.layers.0.0.weight')
    if kernel is None or hidden is None:
        raise ValueError(
            f'no CAE encoder (backbone.*) among {len(state)} tensors: '
            f'{", ".join(map(printable, list(state)[:3]))}, ...'
        )
    bias_table = 'relative_position_bias_table'
    own = state.get(f'{first}attn.{bias_table}')
    shared = state.get(f'backbone.rel_pos_bias.{bias_table}')
    table = own if own is not None else shared
    positions = state.get('backbone.pos_embed')
    tensors = (kernel, hidden, table, positions)
    for value, axes in zip(tensors, (4, 2, 2, 3), strict=True):
        if value is not None and (value.ndim != axes or not value.numel()):
            raise ValueError(
                f'a tensor has the shape {tuple(value.shape)}, but in a CAE '
                f'encoder it has {axes} axes'
            )
    dims, channels, *patch = kernel.shape
    if table is not None:
        side = (_side(table.shape[0] - 3, 'relative bias') + 1) // 2
    elif positions is not None:
        tokens = positions.shape[1]
        extra = int('backbone.cls_token' in state)
        side = _side(tokens - extra, 'pos_embed')
    else:
        raise ValueError(
            'the encoder has no positions, so its image size is unknown'
        )
    return dict(
        arch=dict(
            embed_dims=dims,
            num_layers=1
            + max(
                int(key.split('.')[2])
                for key in state
                if key.startswith('backbone.layers.')
            ),
            num_heads=_num_heads(dims, table, num_heads),
            feedforward_channels=len(hidden),
        ),
        img_size=(side * patch[0], side * patch[1]),
        patch_size=tuple(patch),
        in_channels=channels,
        bias=_bias(state, first + 'attn.'),
        # Any number but 0 creates the layer scales; the file has their
        # values.
        layer_scale_init_value=0.1 if first + 'gamma_1' in state else 0,
        with_cls_token='backbone.cls_token' in state,
        use_abs_pos_emb=positions is not None,
        use_rel_pos_bias=own is not None,
        use_shared_rel_pos_bias=shared is not None,
    )
