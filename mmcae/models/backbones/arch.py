# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Sizes of the encoder, and numbers derived from them."""

from collections.abc import Sequence

from mmpretrain.models.backbones.beit import BEiTViT


def _arch(dims: int, layers: int, heads: int) -> dict[str, int]:
    return dict(
        embed_dims=dims,
        num_layers=layers,
        num_heads=heads,
        feedforward_channels=4 * dims,
    )


# The authors' small model, with 12 heads of 32 channels. In mmpretrain these
# names stand for another model, with 768 channels and 8 blocks.
AUTHORS_SMALL = dict.fromkeys(['s', 'small'], _arch(384, 12, 12))
# All other names stand for the same models as in mmpretrain, for the authors'
# base and large models too.
ARCH_ZOO: dict[str, dict[str, int]] = {**BEiTViT.arch_zoo, **AUTHORS_SMALL}


def arch_settings(arch: str | dict) -> dict[str, int]:
    """Look up sizes by name, or check sizes that are given as a dict.

    Raises:
        ValueError: If there is no such name, the dict lacks keys, or it is
            neither.
    """
    if isinstance(arch, str):
        if arch.lower() not in ARCH_ZOO:
            raise ValueError(
                f'arch must be one of {sorted(ARCH_ZOO)} or a dict, '
                f'got {arch!r}'
            )
        return ARCH_ZOO[arch.lower()]
    if not isinstance(arch, dict):
        raise ValueError(f'arch must be a name or a dict, got {arch!r}')
    missing = set(_arch(1, 1, 1)) - set(arch)
    if missing:
        raise ValueError(f'the arch dict lacks {sorted(missing)}')
    return arch


def block_indices(out_indices: int | Sequence[int], depth: int) -> list[int]:
    """Resolve negative indices, which count from the end.

    Raises:
        ValueError: If there is no such block, or ``out_indices`` is neither
            a number nor a sequence of them.
    """
    if isinstance(out_indices, int):
        out_indices = [out_indices]
    if not isinstance(out_indices, Sequence) or not all(
        isinstance(index, int) for index in out_indices
    ):
        raise ValueError(
            'out_indices must be the index of a block or a list of indices, '
            f'got {out_indices!r}'
        )
    for index in out_indices:
        if not -depth <= index < depth:
            raise ValueError(
                f'out_indices={list(out_indices)}: there is no block '
                f'{index} among {depth}'
            )
    return [index % depth for index in out_indices]


def block_windows(
    window_size: tuple[int, int] | None,
    global_indices: Sequence[int] | None,
    depth: int,
) -> list[tuple[int, int] | None]:
    """Choose the blocks that attend in windows.

    Args:
        window_size: Rows and columns of the windows; None for no windows.
        global_indices: Blocks that attend to the whole grid; negative
            indices count from the end. None spreads four of them evenly, so
            that the last block is one.
        depth: Number of blocks.

    Returns:
        The window of each block, None where it attends to the whole grid.

    Raises:
        ValueError: See `block_indices`.
    """
    if window_size is None:
        return [None] * depth
    if global_indices is None:
        whole = [-(-depth * quarter // 4) - 1 for quarter in range(1, 5)]
    else:
        whole = block_indices(global_indices, depth)
    return [None if i in whole else window_size for i in range(depth)]


def layer_depth(
    param_name: str, prefix: str, num_layers: int
) -> tuple[int, int]:
    """Find the depth of a parameter for layer-wise learning-rate decay.

    Args:
        param_name: Name of the parameter.
        prefix: Prefix of the encoder in that name.
        num_layers: Number of the encoder's blocks.

    Returns:
        Depth (0 for the embedding, ``b + 1`` for block ``b``, the largest
        for everything after the blocks) and the number of depths,
        ``num_layers + 2``.
    """
    num_depths = num_layers + 2
    if not param_name.startswith(prefix):
        return num_depths - 1, num_depths
    name = param_name[len(prefix) :]
    if name in ('cls_token', 'pos_embed') or name.startswith('patch_embed'):
        return 0, num_depths
    if name.startswith('layers.'):
        return int(name.split('.')[1]) + 1, num_depths
    return num_depths - 1, num_depths
