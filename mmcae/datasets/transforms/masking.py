# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Choose the masked patches: in blocks (BEiT, Algorithm 1) or at random.

One Python integer stores a grid of patches, with one bit per patch in
row-major order. To place a block and to count its patches then takes only a
shift, an "and" and a bit count.
"""

import math
from functools import lru_cache

import numpy as np

# The rules are relaxed after this many rejected blocks in a row. The official
# settings (14 x 14 patches, 98 masked, blocks of at least 16) stay far below:
# in 20,000 masks there were at most 196 rejections in a row, and the longest
# series of a mask had 10 on average.
_MAX_REJECTED = 1000


def check_mask_count(num_masked: int, height: int, width: int) -> None:
    """Check that the grid can hold a number of masked patches.

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
    """List the bitmaps of all h x w blocks in the top left corner."""
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
    """Set some of the zero bits; all choices are equally likely."""
    free = [cell for cell in range(size) if not bitmap >> cell & 1]
    for i in np.argsort(rng.random(len(free)))[:num_cells]:
        bitmap |= 1 << free[i]
    return bitmap


def random_mask(
    rng: np.random.Generator, height: int, width: int, num_masked: int
) -> np.ndarray:
    """Mask patches independently of their position.

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
    """Mask rectangles until exactly ``num_masked`` patches are masked.

    The rectangles (blocks) may overlap. The area of a block is uniform between
    ``min_patches`` and the number of patches still to mask, its aspect ratio
    is log-uniform. Its position is uniform *with both ends included*, so that
    all borders of the grid are masked equally often. A block must be smaller
    than the grid in both directions. It is rejected if it adds no patch, or
    more patches than are still to mask.

    These rules cannot reach some counts, or only after very many tries (small
    grids, grids of one row, nearly all patches masked). After 1,000 rejections
    in a row, a block may have any size from a single patch to the whole grid.
    After 1,000 more, the remaining patches are drawn uniformly among the
    visible ones. The function therefore always returns.

    Args:
        rng: Source of the draws.
        height: Rows of the grid.
        width: Columns of the grid.
        num_masked: How many patches to mask, exactly.
        min_patches: Smallest target area of a block, in patches.
        max_patches: Largest number of patches that one block may add.
            Unlimited when None.
        min_aspect: Smallest ratio of a block's height to its width.
        max_aspect: Largest ratio; ``1 / min_aspect`` when None.

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

    bitmap = rejected = 0
    room: float = min(num_masked, limit)
    left_over = num_masked
    draws: list[float] = []
    while left_over:
        if len(draws) < 4:  # single draws would cost five times as much
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
                rejected = 0
                continue
        rejected += 1
        if rejected >= _MAX_REJECTED:
            if relaxed:
                bitmap = _add_free_cells(rng, bitmap, size, left_over)
                break
            highest, widest, smallest, relaxed = height, width, 1, True
            rejected = 0
    return _to_array(bitmap, height, width)
