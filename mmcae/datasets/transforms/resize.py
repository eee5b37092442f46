# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Crop boxes and antialiased resize, shared by the image transforms."""

import math
from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image

from .fast_resize import AVAILABLE, FILTERS, FastSource

Box = tuple[int, int, int, int]

_FILTERS = {
    'nearest': Image.Resampling.NEAREST,
    'box': Image.Resampling.BOX,
    'bilinear': Image.Resampling.BILINEAR,
    'hamming': Image.Resampling.HAMMING,
    'bicubic': Image.Resampling.BICUBIC,
    'lanczos': Image.Resampling.LANCZOS,
}


def to_pair(value: int | Sequence[int], name: str) -> tuple[int, int]:
    """Read a size given as one number or as ``(height, width)``.

    Args:
        value: The size.
        name: What to call it in the message.

    Returns:
        ``(height, width)``.

    Raises:
        ValueError: If it is neither one nor two positive whole numbers.
    """
    pair = (value, value) if isinstance(value, int) else tuple(value)
    if len(pair) != 2 or not all(isinstance(v, int) and v > 0 for v in pair):
        raise ValueError(
            f'{name} must be a positive number or (height, width), '
            f'got {value!r}'
        )
    return pair


def check_interpolation(name: str) -> str:
    """Refuse the name of a resampling filter that PIL does not have.

    Args:
        name: For example ``'bicubic'``.

    Returns:
        The name.

    Raises:
        ValueError: If it is unknown.
    """
    if name not in _FILTERS:
        raise ValueError(
            f'unknown interpolation {name!r}: choose one of '
            f'{", ".join(sorted(_FILTERS))}'
        )
    return name


def check_range(values: Sequence[float], name: str) -> tuple[float, float]:
    """Refuse a pair that is not ``0 < low <= high``.

    Args:
        values: The pair.
        name: What to call it in the message.

    Returns:
        The pair as a tuple.

    Raises:
        ValueError: If it is no such pair.
    """
    if len(values) != 2 or not 0 < values[0] <= values[1]:
        raise ValueError(
            f'{name} must be (low, high) with 0 < low <= high, got {values!r}'
        )
    return values[0], values[1]


def sample_crop_box(
    rng: np.random.Generator,
    height: int,
    width: int,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    clip: bool = False,
) -> Box:
    """Draw the box of a random-resized crop.

    Ten tries of an area uniform in ``scale`` and an aspect log-uniform in
    ``ratio``; the first that fits is placed uniformly, both ends included.
    Otherwise the centered box that comes nearest to the aspect limits.

    Args:
        rng: Source of the draws.
        height: Height of the image.
        width: Width of the image.
        scale: Range of the box's share of the image's area.
        ratio: Range of the box's width to height.
        clip: Whether the first try is taken in any case, its sides clipped
            to the image's (MAE's linear probing).

    Returns:
        ``(top, left, height, width)`` of the box.
    """
    area = height * width
    log_low = math.log(ratio[0])
    log_range = math.log(ratio[1]) - log_low
    for _ in range(10):
        target = (scale[0] + (scale[1] - scale[0]) * rng.random()) * area
        aspect = math.exp(log_low + log_range * rng.random())
        w = round(math.sqrt(target * aspect))
        h = round(math.sqrt(target / aspect))
        if clip:
            w, h = min(max(w, 1), width), min(max(h, 1), height)
        if 0 < w <= width and 0 < h <= height:
            top = int(rng.random() * (height - h + 1))
            left = int(rng.random() * (width - w + 1))
            return top, left, h, w

    h, w = height, width
    if width / height < ratio[0]:
        h = round(width / ratio[0])
    elif width / height > ratio[1]:
        w = round(height * ratio[1])
    return (height - h) // 2, (width - w) // 2, h, w


def check_backend(name: str) -> str:
    """Refuse the name of an unknown back end.

    Args:
        name: ``'fast'`` or ``'pil'``.

    Returns:
        The name.

    Raises:
        ValueError: If it is another one.
    """
    if name not in ('fast', 'pil'):
        raise ValueError(f"backend must be 'fast' or 'pil', got {name!r}")
    return name


def kernels_of(backend: str) -> str:
    """Say whose kernels a back end resizes with on this machine.

    Args:
        backend: ``'fast'`` or ``'pil'``.

    Returns:
        ``'cykooz'`` or ``'pil'``.
    """
    return 'cykooz' if backend == 'fast' and AVAILABLE else 'pil'


def crop(img: np.ndarray, box: Box | None) -> np.ndarray:
    """Cut a box out of an array.

    The pixels are copied before they are resized: PIL's own ``box`` argument
    would let the filter see pixels beyond the box.

    Args:
        img: uint8, ``(H, W)``, ``(H, W, 1)`` or ``(H, W, 3)``; the order of
            the channels does not matter.
        box: ``(top, left, height, width)``, or None for the whole image.

    Returns:
        The part of the image, C-contiguous, ``(h, w)`` or ``(h, w, 3)``.

    Raises:
        TypeError: If ``img`` is no uint8 array of such a shape.
    """
    if (
        not isinstance(img, np.ndarray)
        or img.dtype != np.uint8
        or img.ndim not in (2, 3)
        or (img.ndim == 3 and img.shape[2] not in (1, 3))
    ):
        seen = (
            f'{img.dtype} {img.shape}'
            if isinstance(img, np.ndarray)
            else type(img).__name__
        )
        raise TypeError(
            'expected a uint8 image (H, W), (H, W, 1) or (H, W, 3), got '
            f'{seen}; crop before converting, and only once'
        )
    if box is not None:
        top, left, height, width = box
        img = img[top : top + height, left : left + width]
    if img.ndim == 3 and img.shape[2] == 1:
        img = img[:, :, 0]
    if img.strides[1] < 0:  # flipped: NumPy takes ten times as long to copy
        return cv2.flip(img[:, ::-1], 1)
    return np.ascontiguousarray(img)


def resize(
    img: np.ndarray,
    size: tuple[int, int],
    interpolation: str,
    backend: str = 'pil',
) -> np.ndarray:
    """Resize an image, antialiased when shrinking.

    Args:
        img: What :func:`crop` returned.
        size: ``(height, width)``.
        interpolation: Name of the filter.
        backend: ``'pil'``, or ``'fast'`` for
            :mod:`~mmcae.datasets.transforms.fast_resize` where it is
            installed and has the filter.

    Returns:
        A writable uint8 array ``(height, width)`` or ``(height, width, 3)``.
    """
    return resize_views(img, [(size, interpolation)], backend)[0]


def resize_views(
    img: np.ndarray,
    views: Sequence[tuple[tuple[int, int], str]],
    backend: str = 'pil',
) -> list[np.ndarray]:
    """Resize one image several times; see :func:`resize`.

    Args:
        img: What :func:`crop` returned.
        views: Size and filter of each result.
        backend: As for :func:`resize`.

    Returns:
        The resized images.
    """
    source = FastSource(img) if kernels_of(backend) == 'cykooz' else None
    return [
        source.resize(size, interpolation)
        if source and interpolation in FILTERS
        else _resize_pil(img, size, interpolation)
        for size, interpolation in views
    ]


def _resize_pil(
    img: np.ndarray, size: tuple[int, int], interpolation: str
) -> np.ndarray:
    pil = Image.fromarray(img)
    return np.array(pil.resize(size[::-1], _FILTERS[interpolation]))
