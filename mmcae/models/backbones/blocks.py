# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The blocks of a `CAEViT`: which attend everywhere, which in windows."""

from collections.abc import Sequence
from typing import Any

from mmengine.model import ModuleList

from ..layers import EncoderBlock, drop_path_rates
from .arch import block_indices


def global_blocks(global_indices: Sequence[int] | None, depth: int) -> set:
    """Blocks that attend everywhere beside others that use windows.

    Args:
        global_indices: Their indices; negative ones count from the end.
            None spreads four evenly, so that the last block is one.
        depth: Number of blocks.
    """
    if global_indices is None:
        return {-(-depth * quarter // 4) - 1 for quarter in range(1, 5)}
    return set(block_indices(global_indices, depth))


def build_blocks(
    arch: dict[str, int],
    grid: tuple[int, int] | None,
    window_size: tuple[int, int] | None,
    global_indices: Sequence[int] | None,
    drop_path_rate: float,
    layer_cfgs: dict | Sequence[dict],
    **block_cfg: Any,
) -> ModuleList:
    """Build the encoder's blocks.

    Args:
        arch: Sizes, see `arch_settings`.
        grid: Patch grid of the relative position bias of blocks that attend
            everywhere; those with windows have one of the window. None
            leaves the bias out of all.
        window_size: Rows and columns of the windows; None for no windows.
        global_indices: See `global_blocks`.
        drop_path_rate: Rate of the last block.
        layer_cfgs: Further arguments of the blocks, for all or for each.
        **block_cfg: Arguments of all blocks.
    """
    depth = arch['num_layers']
    everywhere = set(range(depth))
    if window_size is not None:
        everywhere = global_blocks(global_indices, depth)
    if isinstance(layer_cfgs, dict):
        layer_cfgs = [layer_cfgs] * depth
    rates = drop_path_rates(drop_path_rate, depth)
    blocks = []
    for i, layer_cfg in zip(range(depth), layer_cfgs, strict=True):
        attn_window = None if i in everywhere else window_size
        cfg: dict[str, Any] = dict(
            embed_dims=arch['embed_dims'],
            num_heads=arch['num_heads'],
            feedforward_channels=arch['feedforward_channels'],
            window_size=grid and (attn_window or grid),
            attn_window=attn_window,
            drop_path_rate=rates[i],
        )
        blocks.append(EncoderBlock(**{**cfg, **block_cfg, **layer_cfg}))
    return ModuleList(blocks)
