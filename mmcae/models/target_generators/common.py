# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""What all target generators share: grids, masked places, weights."""

import math
from collections.abc import Sequence

import torch
from mmengine.model import BaseModule
from torch import Tensor

from mmcae.checkpoint.tokenizer_weights import load_tokenizer_weights
from mmcae.models.layers.masking import (
    PatchSplit,
    select_tokens,
    split_patches,
)


def resolve_grid(length: int, grid: Sequence[int] | None) -> tuple[int, int]:
    """Choose the (height, width) of a flattened token map.

    Args:
        length (int): Number of tokens.
        grid (Sequence[int], optional): Height and width; square if None.

    Returns:
        tuple[int, int]: Height and width.

    Raises:
        ValueError: If ``length`` tokens do not fill the grid.
    """
    if grid is None:
        side = math.isqrt(length)
        grid = (side, side)
    if grid[0] * grid[1] != length:
        raise ValueError(
            f'{length} tokens do not fill a grid of {grid[0]} x {grid[1]}; '
            'pass grid=(height, width).'
        )
    return grid[0], grid[1]


def select_places(
    features: Tensor, mask: Tensor | PatchSplit | None
) -> Tensor:
    """Flatten a feature map to one row a place, the masked ones if asked.

    Args:
        features (Tensor): (B, C, h, w).
        mask (Tensor | PatchSplit, optional): Boolean (B, L), True = masked;
            or what ``split_patches`` made of that.

    Returns:
        Tensor: (B L, C), or (N, C) for the N masked places, row-major.

    Raises:
        ValueError: If the mask is not boolean of shape (B, h w).
    """
    places = features.flatten(2).transpose(1, 2)
    if mask is None:
        return places.flatten(0, 1)
    if isinstance(mask, PatchSplit):
        split = split_patches(mask, places.shape[1])
        return select_tokens(places, split.masked).flatten(0, 1)
    if mask.dtype != torch.bool or mask.shape != places.shape[:2]:
        raise ValueError(
            f'mask is {mask.dtype} of shape {tuple(mask.shape)}, but these '
            f'images have {tuple(places.shape[:2])} places; it must be '
            'boolean of that shape.'
        )
    return places[mask]


def init_pretrained(module: BaseModule) -> bool:
    """Load a tokenizer from ``init_cfg`` of type ``Pretrained``, strictly.

    mmengine's own initialiser accepts a file without one matching key.

    Args:
        module (BaseModule): The tokenizer.

    Returns:
        bool: Whether its ``init_cfg`` was of that type.
    """
    cfg = module.init_cfg
    if isinstance(cfg, list) and len(cfg) == 1:
        cfg = cfg[0]
    if not isinstance(cfg, dict) or cfg.get('type') != 'Pretrained':
        return False
    load_tokenizer_weights(module, cfg['checkpoint'], cfg.get('prefix') or '')
    module._is_init = True
    return True
