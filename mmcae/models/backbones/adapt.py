# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Fit a checkpoint's tensors to a `CAEViT` of another size or use."""

import math
from typing import TYPE_CHECKING, Any

from mmpretrain.models.utils import resize_pos_embed
from torch import Tensor

from mmcae.checkpoint.load_report import (
    note_derived,
    note_renamed,
    note_resized,
)

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
        table = resize_pos_embed(
            table, (side, side), target, vit.interpolate_mode, extra
        )
    if table.shape != state_dict[name].shape:
        note_resized(name, state_dict[name].shape, table.shape)
    state_dict[name] = table


def adapt_pooled_norm(
    vit: 'CAEViT', state_dict: dict[str, Any], prefix: str
) -> None:
    """Load the encoder's final norm into the pooled norm, where it fits.

    The authors' fine-tuning does so (dossier of recipes: ``encoder.norm``
    becomes ``fc_norm``); without it the pooled norm would start afresh.
    Norms that the model does not have are dropped.
    """
    pooled = hasattr(vit, 'ln2')
    for leaf in ('weight', 'bias'):
        final_name, pooled_name = (
            f'{prefix}{norm}.{leaf}' for norm in ('ln1', 'ln2')
        )
        if not pooled:
            state_dict.pop(pooled_name, None)
        if vit.final_norm or final_name not in state_dict:
            continue
        norm = state_dict.pop(final_name)
        if pooled:
            state_dict[pooled_name] = norm
            note_renamed(final_name, pooled_name)


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
            note_renamed(shared + 'bias_table', key)
    for key, current in vit.named_parameters():
        name = prefix + key
        if not key.endswith('relative_position_bias_table'):
            continue
        table = state_dict.get(name)
        if table is None or table.shape[0] == current.shape[0]:
            continue
        # Blocks that attend in windows have tables of the window.
        owner: Any = vit.get_submodule(key.rpartition('.')[0])
        rows, columns = owner.window_size
        side = (_square(table.shape[0] - 3, name) + 1) // 2
        state_dict[name] = spread_bias_table(
            table, (side, side), (rows, columns)
        )
        note_resized(name, table.shape, state_dict[name].shape)
    # The index follows from the window; files of pretraining lack it.
    for key, index in vit.named_buffers():
        if key.endswith('relative_position_index'):
            state_dict[prefix + key] = index
            note_derived(prefix + key)
