# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Masks as users have them: a ratio, a box, an array or a painted picture."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from mmcae.apis.image_views import Placement
from mmcae.datasets.transforms.masking import block_mask, random_mask

#: What the functions of this package take as a mask.
MaskLike = (
    None
    | float
    | Sequence[float]
    | str
    | os.PathLike
    | Image.Image
    | np.ndarray
)
KINDS = ('block', 'random')


def read_mask(
    mask: MaskLike,
    placement: Placement,
    image_size: tuple[int, int],
    seed: int = 0,
    kind: str = 'block',
) -> np.ndarray:
    """Turn a mask of any kind into masked patches.

    Args:
        mask: One of

            - None: half of the patches;
            - a number between 0 and 1: that share of the patches;
            - a box, four numbers ``(left, top, right, bottom)`` in pixels of
              the image: every patch that it touches;
            - an array ``(h, w)`` of the patch grid, or its ``h * w``
              entries: True where a patch is masked;
            - a painted mask, an array ``(H, W)`` of the size of the image or
              of the encoder's view, a PIL image or the path of one: every
              patch with a painted pixel. Painted is what is brighter than
              half, or, if the picture is transparent somewhere, what is not
              transparent.

        placement: Which part of the image the model sees.
        image_size: Height and width of the image.
        seed: Seed of a mask that is drawn.
        kind: How a mask is drawn: in blocks as in training (``'block'``), or
            each patch by itself (``'random'``).

    Returns:
        True where a patch is masked, bool ``(h, w)``.

    Raises:
        FileNotFoundError: If there is no such picture.
        ValueError: If the mask does not fit the image, or masks no patch or
            all of them.
    """
    grid = placement.grid
    if kind not in KINDS:
        raise ValueError(
            f'the kind of mask must be one of {KINDS}, got {kind!r}'
        )
    if mask is None:
        mask = 0.5
    if isinstance(mask, int | float | np.number):
        return _draw(float(mask), grid, seed, kind)
    if isinstance(mask, str | os.PathLike):
        mask = _read_picture(Path(mask).expanduser())
    elif isinstance(mask, Image.Image):
        mask = _painted(mask)
    elif not isinstance(mask, np.ndarray):
        values = np.asarray(mask)
        if values.shape == (4,) and values.dtype != bool:
            return _checked(_box(values.tolist(), placement, image_size))
        mask = values
    return _checked(_from_array(mask, placement, image_size))


def _draw(
    ratio: float, grid: tuple[int, int], seed: int, kind: str
) -> np.ndarray:
    if not 0 < ratio < 1:
        raise ValueError(
            f'a mask ratio must lie between 0 and 1, got {ratio:g}'
        )
    total = grid[0] * grid[1]
    count = min(max(round(ratio * total), 1), total - 1)
    rng = np.random.default_rng(seed)
    if kind == 'random':
        return random_mask(rng, *grid, count)
    # The authors' smallest block, 16 of 14 x 14 patches, in proportion.
    return block_mask(rng, *grid, count, min(16, max(2, total // 12)))


def _box(
    values: Sequence[float],
    placement: Placement,
    image_size: tuple[int, int],
) -> np.ndarray:
    left, top, right, bottom = (float(value) for value in values)
    height, width = image_size
    text = ', '.join(f'{value:g}' for value in values)
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise ValueError(
            f'the box ({text}) must be (left, top, right, bottom) inside of '
            f'the image, which is {width} pixels wide and {height} high'
        )
    spans = []
    offsets = ((top, bottom), (left, right))
    for axis, (low, high) in enumerate(offsets):
        start, length = placement.box[axis], placement.box[axis + 2]
        step = length / placement.grid[axis]
        edges = start + step * np.arange(placement.grid[axis] + 1)
        spans.append((edges[1:] > low) & (edges[:-1] < high))
    mask = spans[0][:, None] & spans[1][None]
    if not mask.any():
        raise ValueError(
            f'the box ({text}) lies in the part of the image that is cut off '
            "before the model sees it; fit='stretch' keeps the whole image"
        )
    return mask


def _read_picture(path: Path) -> np.ndarray:
    if not path.is_file():
        raise FileNotFoundError(f'the mask {path} is not there')
    try:
        with Image.open(path) as image:
            return _painted(image)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f'the mask {path} is not a picture') from error


def _painted(image: Image.Image) -> np.ndarray:
    if 'transparency' in image.info:
        image = image.convert('RGBA')
    if 'A' in image.getbands():
        alpha = np.asarray(image.getchannel('A'))
        if alpha.min() < 128:
            return alpha >= 128
    return np.asarray(image.convert('L')) >= 128


def _from_array(
    mask: np.ndarray, placement: Placement, image_size: tuple[int, int]
) -> np.ndarray:
    rows, columns = placement.grid
    if mask.ndim == 3 and mask.shape[2] == 1:
        mask = mask[..., 0]
    if mask.shape in ((rows, columns), (rows * columns,)):
        return mask.reshape(rows, columns).astype(bool)
    if mask.shape == tuple(image_size):
        top, left, height, width = placement.box
        mask = mask[top : top + height, left : left + width]
    elif mask.shape != tuple(placement.size):
        sizes = [(rows, columns), tuple(placement.size), tuple(image_size)]
        known = ', '.join(f'{h} x {w}' for h, w in dict.fromkeys(sizes))
        shape = ' x '.join(map(str, mask.shape))
        raise ValueError(
            f'a mask of {shape} does not fit: it must have the size of the '
            f'patch grid, of the view or of the image ({known})'
        )
    ys, xs = np.nonzero(mask)
    masked = np.zeros((rows, columns), dtype=bool)
    masked[ys * rows // mask.shape[0], xs * columns // mask.shape[1]] = True
    return masked


def _checked(mask: np.ndarray) -> np.ndarray:
    if mask.all() or not mask.any():
        count = 'all' if mask.any() else 'none'
        raise ValueError(
            f'the mask masks {count} of the {mask.size} patches; some must be '
            'masked and some visible'
        )
    return mask
