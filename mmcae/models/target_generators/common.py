# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""What all target generators share: grids, masked patches, weights."""

import math
from collections.abc import Sequence

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmcae.checkpoint.packaged import is_packaged
from mmcae.checkpoint.tokenizer_weights import load_tokenizer_weights
from mmcae.utils.old_names import old_names

from ..layers.masking import (
    PatchSplit,
    select_tokens,
    split_patches,
)


def resolve_grid(length: int, grid: Sequence[int] | None) -> tuple[int, int]:
    """Choose the (height, width) of a flattened token map.

    Args:
        length: Number of tokens.
        grid: Height and width. None means a square grid.

    Returns:
        Height and width.

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


def select_patches(
    features: Tensor, mask: Tensor | PatchSplit | None
) -> Tensor:
    """Flatten a feature map to one row for each patch, or masked patch.

    Args:
        features: Feature map, ``(B, C, h, w)``.
        mask: ``True`` where a patch is masked, bool ``(B, L)``, or what
            `split_patches` made of that. None selects all patches.

    Returns:
        Rows of all ``B * L`` patches or of the ``N`` masked ones, row-major,
        ``(N, C)``.

    Raises:
        ValueError: If the mask is not boolean of shape ``(B, h * w)``.
    """
    patches = features.flatten(2).transpose(1, 2)
    if mask is None:
        return patches.flatten(0, 1)
    if isinstance(mask, PatchSplit):
        split = split_patches(mask, patches.shape[1])
        return select_tokens(patches, split.masked).flatten(0, 1)
    if mask.dtype != torch.bool or mask.shape != patches.shape[:2]:
        raise ValueError(
            f'mask is {mask.dtype} of shape {tuple(mask.shape)}, but these '
            f'images have {tuple(patches.shape[:2])} patches; it must be '
            'boolean of that shape.'
        )
    return patches[mask]


def init_pretrained(module: BaseModule) -> bool:
    """Load a tokenizer from ``init_cfg`` of type ``Pretrained``, strictly.

    mmengine's own initializer accepts a file in which no key matches.

    Args:
        module: The tokenizer.

    Returns:
        Whether its ``init_cfg`` was of that type.
    """
    cfg = _pretrained_cfg(module)
    if cfg is None:
        return False
    load_tokenizer_weights(
        module,
        cfg['checkpoint'],
        cfg.get('prefix') or '',
        cfg.get('sha256'),
    )
    module._is_init = True
    return True


def load_packaged(module: nn.Module | None) -> None:
    """Load a tokenizer whose weights travel in the package, once.

    Nothing happens if ``module`` has loaded weights already, or if its
    ``init_cfg`` names another file or none.

    Args:
        module: The tokenizer, or None.
    """
    if getattr(module, 'weights_info', None) is not None:
        return
    cfg = _pretrained_cfg(module)
    if cfg is not None and is_packaged(cfg['checkpoint']):
        assert isinstance(module, BaseModule)
        init_pretrained(module)


def _pretrained_cfg(module: nn.Module | None) -> dict | None:
    """The ``init_cfg`` of a module if it is of type ``Pretrained``."""
    cfg = getattr(module, 'init_cfg', None)
    if isinstance(cfg, list) and len(cfg) == 1:
        cfg = cfg[0]
    if isinstance(cfg, dict) and cfg.get('type') == 'Pretrained':
        return cfg
    return None


__getattr__ = old_names(__name__, {'select_places': 'select_patches'})
