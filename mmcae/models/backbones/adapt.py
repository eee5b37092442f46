# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Fit a checkpoint's tensors to a `CAEViT` of another size or use."""

import math
from typing import TYPE_CHECKING, Any

from mmengine.logging import print_log
from mmpretrain.models.utils import resize_pos_embed
from torch import Tensor

from ..layers import spread_bias_table

if TYPE_CHECKING:
    from .cae_vit import CAEViT


def _square(num_tokens: int, name: str) -> int:
    side = math.isqrt(num_tokens)
    if side * side != num_tokens:
        raise ValueError(
            f'`{name}` of the checkpoint has {num_tokens} patches, which is '
            'no square grid: it can be loaded into the same grid only'
        )
    return side


def adapt_position_table(
    vit: 'CAEViT', state_dict: dict[str, Any], prefix: str
) -> None:
    """Resize ``pos_embed`` in place to the model's grid, bicubically.

    A class-token row that the model does not have is dropped.
    """
    name = prefix + 'pos_embed'
    table: Tensor | None = state_dict.get(name)
    if table is None or vit.pos_embed is None:
        return
    wanted = vit.pos_embed.shape
    if not vit.with_cls_token and table.shape[1] == wanted[1] + 1:
        table = table[:, 1:]
    if table.shape[1] != wanted[1]:
        extra = vit.num_extra_tokens
        side = _square(table.shape[1] - extra, name)
        target = vit.patch_resolution
        print_log(
            f'Resize {name} from {side}x{side} to {target[0]}x{target[1]}',
            logger='current',
        )
        table = resize_pos_embed(
            table, (side, side), target, vit.interpolate_mode, extra
        )
    state_dict[name] = table


def adapt_pooled_norm(
    vit: 'CAEViT', state_dict: dict[str, Any], prefix: str
) -> None:
    """Load the encoder's final norm into the pooled norm, where it fits.

    The authors' fine-tuning does so (dossier of recipes: ``encoder.norm``
    becomes ``fc_norm``); without it the pooled norm would start afresh.
    """
    pooled = hasattr(vit, 'ln2')
    for leaf in ('weight', 'bias'):
        final_name, pooled_name = (
            f'{prefix}{norm}.{leaf}' for norm in ('ln1', 'ln2')
        )
        if pooled and not vit.final_norm and final_name in state_dict:
            state_dict[pooled_name] = state_dict.pop(final_name)
        elif not pooled:
            state_dict.pop(pooled_name, None)


def adapt_relative_position(
    vit: 'CAEViT', state_dict: dict[str, Any], prefix: str
) -> None:
    """Copy shared bias tables to the layers and resize them in place."""
    shared = prefix + 'rel_pos_bias.relative_position_'
    if vit.use_rel_pos_bias and shared + 'bias_table' in state_dict:
        table = state_dict.pop(shared + 'bias_table')
        state_dict.pop(shared + 'index', None)
        for i in range(vit.num_layers):
            key = f'{prefix}layers.{i}.attn.relative_position_bias_table'
            state_dict[key] = table.clone()
    for key, current in vit.named_parameters():
        name = prefix + key
        if not key.endswith('relative_position_bias_table'):
            continue
        table = state_dict.get(name)
        if table is None or table.shape[0] == current.shape[0]:
            continue
        rows, columns = vit.patch_resolution
        side = (_square(table.shape[0] - 3, name) + 1) // 2
        print_log(
            f'Resize {name} from window {side}x{side} to {rows}x{columns}',
            logger='current',
        )
        state_dict[name] = spread_bias_table(
            table, (side, side), (rows, columns)
        )
        state_dict.pop(name.replace('bias_table', 'index'), None)
    # The index is derived from the window; old files may lack it.
    for key, index in vit.named_buffers():
        if key.endswith('relative_position_index'):
            table_name = prefix + key.replace('index', 'bias_table')
            if table_name in state_dict:
                state_dict[prefix + key] = index
