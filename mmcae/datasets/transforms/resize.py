# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Crop boxes and antialiased resize, shared by the image transforms."""

import math
from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image

from .fast_resize import AVAILABLE, FILTERS, FastSource
from .read_pixels import MAX_CHANNELS

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
        ValueError: If the size is not one or two positive integers.
    """
    pair = (value, value) if isinstance(value, int) else tuple(value)
    if len(pair) != 2 or not all(isinstance(v, int) and v > 0 for v in pair):
        raise ValueError(
            f'{name} must be a positive number or (height, width), '
            f'got {value!r}'
        )
    return pair


def check_interpolation(name: str) -> str:
    """Check the name of a resampling filter.

    Args:
        name: For example ``'bicubic'``.

    Returns:
        The name.

    Raises:
        ValueError: If PIL has no such filter.
    """
    if name not in _FILTERS:
        raise ValueError(
            f'unknown interpolation {name!r}: choose one of '
            f'{", ".join(sorted(_FILTERS))}'
        )
    return name


def check_range(values: Sequence[float], name: str) -> tuple[float, float]:
    """Check that a pair satisfies ``0 < low <= high``.

    Args:
        values: The pair.
        name: What to call it in the message.

    Returns:
        The pair as a tuple.

    Raises:
        ValueError: If it does not.
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

    The area is uniform in ``scale`` and the aspect ratio log-uniform in
    ``ratio``. The first of ten boxes that fits is used; its position is
    uniform, with both ends included. If none fits, the result is the largest
    centered box whose aspect ratio is within the limits.

    Args:
        rng: The random generator.
        height: Height of the image.
        width: Width of the image.
        scale: Range of the box's area, as a fraction of the image's area.
        ratio: Range of the box's width to height.
        clip: Whether to use the first box in any case and clip its sides to
            those of the image (as in MAE's linear probing).

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
    """Check the name of a backend.

    Args:
        name: ``'fast'`` or ``'pil'``.

    Returns:
        The name.

    Raises:
        ValueError: If it is another name.
    """
    if name not in ('fast', 'pil'):
        raise ValueError(f"backend must be 'fast' or 'pil', got {name!r}")
    return name


def kernels_of(backend: str) -> str:
    """Say which library a backend resizes with on this machine.

    Args:
        backend: ``'fast'`` or ``'pil'``.

    Returns:
        ``'cykooz'`` or ``'pil'``.
    """
    return 'cykooz' if backend == 'fast' and AVAILABLE else 'pil'


def crop(img: np.ndarray, box: Box | None) -> np.ndarray:
    """Crop a box out of an image.

    The pixels are copied before they are resized. With PIL's own ``box``
    argument, the filter would also use pixels outside of the box.

    Args:
        img: uint8 or float32, ``(H, W)`` or ``(H, W, C)`` with 1 to 16
            channels, whose order does not matter.
        box: ``(top, left, height, width)``, or None for the whole image.

    Returns:
        The part of the image, C-contiguous, ``(h, w)`` or ``(h, w, C)`` with
        more than one channel.

    Raises:
        TypeError: If ``img`` is not an array of such a type and shape.
    """
    if (
        not isinstance(img, np.ndarray)
        or img.dtype not in (np.uint8, np.float32)
        or img.ndim not in (2, 3)
        or (img.ndim == 3 and not 1 <= img.shape[2] <= MAX_CHANNELS)
    ):
        seen = (
            f'{img.dtype} {img.shape}'
            if isinstance(img, np.ndarray)
            else type(img).__name__
        )
        raise TypeError(
            'expected a uint8 or float32 image (H, W) or (H, W, C) with 1 to '
            f'{MAX_CHANNELS} channels, got {seen}; crop before converting, '
            'and only once'
        )
    if box is not None:
        top, left, height, width = box
        img = img[top : top + height, left : left + width]
    if img.ndim == 3 and img.shape[2] == 1:
        img = img[:, :, 0]
    if (
        img.strides[1] < 0
    ):  # flipped: copying with NumPy takes ten times as long
        return cv2.flip(img[:, ::-1], 1)
    return np.ascontiguousarray(img)


def resize(
    img: np.ndarray,
    size: tuple[int, int],
    interpolation: str,
    backend: str = 'pil',
) -> np.ndarray:
    """Resize an image, with antialiasing if it becomes smaller.

    Args:
        img: What :func:`crop` returned.
        size: ``(height, width)``.
        interpolation: Name of the filter.
        backend: ``'pil'``, or ``'fast'`` for
            :mod:`~mmcae.datasets.transforms.fast_resize` if the library is
            installed and has the filter.

    Returns:
        A writable array of the same type, ``(height, width)`` or ``(height,
        width, C)``.
    """
    return resize_views(img, [(size, interpolation)], backend)[0]


def resize_views(
    img: np.ndarray,
    views: Sequence[tuple[tuple[int, int], str]],
    backend: str = 'pil',
) -> list[np.ndarray]:
    """Resize one image to several sizes; see :func:`resize`.

    Args:
        img: What :func:`crop` returned.
        views: Size and filter of each result.
        backend: As for :func:`resize`.

    Returns:
        The resized images.
    """
    color = img.dtype == np.uint8 and (img.ndim == 2 or img.shape[2] == 3)
    fast = color and kernels_of(backend) == 'cykooz'
    source = FastSource(img) if fast else None
    return [
        source.resize(size, interpolation)
        if source and interpolation in FILTERS
        else _resize_pil(img, size, interpolation)
        for size, interpolation in views
    ]


def _resize_pil(
    img: np.ndarray, size: tuple[int, int], interpolation: str
) -> np.ndarray:
    if img.ndim == 3 and (img.shape[2] != 3 or img.dtype != np.uint8):
        # PIL would take the fourth channel for transparency.
        planes = [
            _resize_pil(np.ascontiguousarray(plane), size, interpolation)
            for plane in np.moveaxis(img, 2, 0)
        ]
        return np.stack(planes, axis=2)
    pil = Image.fromarray(img)
    resized = np.array(pil.resize(size[::-1], _FILTERS[interpolation]))
    if img.dtype == np.float32:  # filters overshoot; 8 bits are clipped, too
        np.clip(resized, img.min(), img.max(), out=resized)
    return resized
