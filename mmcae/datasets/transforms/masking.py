# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Which patches are masked: block-wise (BEiT, Algorithm 1) and at random.

A grid of patches is held as one Python integer, one bit per patch in
row-major order, so that placing and counting a whole block takes a shift, an
"and" and a bit count.
"""

import math
from functools import lru_cache

import numpy as np

# Blocks refused in a row before the rules are relaxed. Official settings
# (14 x 14, 98 of at least 16) stay far below: the longest row of refusals in
# 20,000 masks was 196, the mean of the longest one in a mask 10.
_PATIENCE = 1000


def check_mask_count(num_masked: int, height: int, width: int) -> None:
    """Refuse a number of masked patches that the grid cannot hold.

    Args:
        num_masked: The number of patches to mask.
        height: Rows of the grid.
        width: Columns of the grid.

    Raises:
        ValueError: If the grid is empty, or the count negative or larger than
            the grid.
    """
    if height < 1 or width < 1:
        raise ValueError(
            f'the grid must have at least one patch, got {height} x {width}'
        )
    if not 0 <= num_masked <= height * width:
        raise ValueError(
            f'cannot mask {num_masked} patches of a {height} x {width} grid: '
            f'choose a number from 0 to {height * width}'
        )


@lru_cache(maxsize=32)
def _block_bitmaps(height: int, width: int) -> list[list[int]]:
    """Tabulate the bitmap of every h x w block in the top left corner."""
    return [
        [
            sum(((1 << w) - 1) << (row * width) for row in range(h))
            for w in range(width + 1)
        ]
        for h in range(height + 1)
    ]


def _to_array(bitmap: int, height: int, width: int) -> np.ndarray:
    size = height * width
    packed = np.frombuffer(
        bitmap.to_bytes((size + 7) // 8, 'little'), dtype=np.uint8
    )
    bits = np.unpackbits(packed, count=size, bitorder='little')
    return bits.view(bool).reshape(height, width)


def _add_free_cells(
    rng: np.random.Generator, bitmap: int, size: int, num_cells: int
) -> int:
    """Set some of the zero bits, every choice being equally likely."""
    free = [cell for cell in range(size) if not bitmap >> cell & 1]
    for i in np.argsort(rng.random(len(free)))[:num_cells]:
        bitmap |= 1 << free[i]
    return bitmap


def random_mask(
    rng: np.random.Generator, height: int, width: int, num_masked: int
) -> np.ndarray:
    """Mask patches independently of where they are.

    Args:
        rng: Source of the draws.
        height: Rows of the grid.
        width: Columns of the grid.
        num_masked: How many patches to mask, exactly.

    Returns:
        True where a patch is masked, ``(height, width)``, bool.

    Raises:
        ValueError: If the grid cannot hold ``num_masked`` patches.
    """
    check_mask_count(num_masked, height, width)
    mask = np.zeros(height * width, dtype=bool)
    mask[np.argsort(rng.random(height * width))[:num_masked]] = True
    return mask.reshape(height, width)


def block_mask(
    rng: np.random.Generator,
    height: int,
    width: int,
    num_masked: int,
    min_patches: float = 16,
    max_patches: float | None = None,
    min_aspect: float = 0.3,
    max_aspect: float | None = None,
) -> np.ndarray:
    """Mask rectangles, which may overlap, until the count is exact.

    A block's area is uniform between ``min_patches`` and the room left, its
    aspect log-uniform, its place uniform *with both ends included* (so that
    the borders of the grid are masked alike). It must be smaller than the
    grid in both directions, and counts only if it adds at least one and at
    most as many patches as there is room for.

    Some counts cannot be reached so, or only after very many tries (small
    grids, grids of one row, nearly everything masked). After 1,000 refusals
    in a row blocks of any size from a single patch to the grid's full height
    and width are tried, and after as many again the rest is drawn uniformly
    among the free patches. The call therefore always returns.

    Args:
        rng: Source of the draws.
        height: Rows of the grid.
        width: Columns of the grid.
        num_masked: How many patches to mask, exactly.
        min_patches: Smallest area of a block that is aimed at.
        max_patches: Largest number of patches that one block may add.
            Unlimited when None.
        min_aspect: Smallest ratio of a block's height to its width.
        max_aspect: Largest such ratio; ``1 / min_aspect`` when None.

    Returns:
        True where a patch is masked, ``(height, width)``, bool.

    Raises:
        ValueError: If the grid cannot hold ``num_masked`` patches.
    """
    check_mask_count(num_masked, height, width)
    size = height * width
    limit = num_masked if max_patches is None else max_patches
    log_low = math.log(min_aspect)
    log_range = math.log(max_aspect or 1 / min_aspect) - log_low
    blocks = _block_bitmaps(height, width)
    exp, sqrt = math.exp, math.sqrt

    smallest = min_patches
    highest, widest = height - 1, width - 1
    relaxed = False
    if highest == 0 or widest == 0:  # no block is smaller than one row
        highest, widest, smallest, relaxed = height, width, 1, True

    bitmap = refused = 0
    room: float = min(num_masked, limit)
    left_over = num_masked
    draws: list[float] = []
    while left_over:
        if len(draws) < 4:  # in bulk: single draws cost five times as much
            draws = rng.random(64).tolist()
        area = smallest + (room - smallest) * draws.pop()
        aspect = exp(log_low + log_range * draws.pop())
        h = round(sqrt(area * aspect))
        w = round(sqrt(area / aspect))
        if h <= highest and w <= widest:
            top = int(draws.pop() * (height - h + 1))
            left = int(draws.pop() * (width - w + 1))
            block = blocks[h][w] << (top * width + left)
            added = (block & ~bitmap).bit_count()
            if 0 < added <= room:
                bitmap |= block
                left_over -= added
                room = min(left_over, limit)
                refused = 0
                continue
        refused += 1
        if refused >= _PATIENCE:
            if relaxed:
                bitmap = _add_free_cells(rng, bitmap, size, left_over)
                break
            highest, widest, smallest, relaxed = height, width, 1, True
            refused = 0
    return _to_array(bitmap, height, width)
