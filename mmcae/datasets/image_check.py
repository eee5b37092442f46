# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Look at image files before a training reads them."""

import hashlib
import os
import warnings
from typing import NamedTuple

import numpy as np
from PIL import Image as PILImage

from .transforms.load_image import LoadImage, UnreadableImageError

KINDS = {
    'truncated': 'the file ends before the image does',
    'unreadable': 'not an image, or damaged',
    'tiny': 'a side is shorter than --min-side',
    'huge': 'more megapixels than --max-megapixels',
    'gray': 'no color',
    'duplicate': 'the same bytes as another file',
}
#: Kinds that a training cannot use.
BROKEN = ('truncated', 'unreadable')
# Moments are computed from about this many pixels of an image.
_PIXELS = 10_000


class Image(NamedTuple):
    """What is known about a file.

    Attributes:
        path: Relative to the folder.
        digest: SHA-256 of the content, or '' if it cannot be read.
        faults: Kind and detail of each.
        size: Width and height in pixels; zeros if it cannot be read.
        format: As PIL calls it (``'JPEG'``), or ''.
        mode: As PIL calls it before any conversion (``'RGBA'``), or ''.
        mean: Of the pixels, RGB, from 0 to 255.
        square: Mean of the squared pixels, RGB.
    """

    path: str
    digest: str
    faults: list[tuple[str, str]]
    size: tuple[int, int] = (0, 0)
    format: str = ''
    mode: str = ''
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    square: tuple[float, ...] = (0.0, 0.0, 0.0)


def examine(
    path: str, folder: str, min_side: int, max_megapixels: float
) -> Image:
    """Decode a file and look at it.

    Args:
        path: The file, relative to the folder.
        folder: The folder.
        min_side: The shortest side in pixels that is not tiny.
        max_megapixels: The largest size that is not huge.
    """
    full = os.path.join(folder, path)
    try:
        with open(full, 'rb') as file:
            digest = hashlib.sha256(file.read()).hexdigest()
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # odd EXIF; the pixels count
            pixels = LoadImage().load(full)
            with PILImage.open(full) as opened:
                kind, mode = opened.format or '', opened.mode
    except (OSError, UnreadableImageError) as error:
        reason = getattr(error, 'reason', str(error))
        kind = 'truncated' if 'truncated' in reason else 'unreadable'
        return Image(path, '', [(kind, reason)])
    height, width = pixels.shape[:2]
    size = f'{width} x {height}'
    faults = []
    if min(width, height) < min_side:
        faults.append(('tiny', size))
    if width * height > max_megapixels * 1e6:
        faults.append(('huge', size))
    if _is_gray(pixels):
        faults.append(('gray', size))
    step = max(1, round((width * height / _PIXELS) ** 0.5))
    some = pixels[::step, ::step, ::-1].reshape(-1, 3).astype(np.float64)
    return Image(
        path,
        digest,
        faults,
        (width, height),
        kind,
        mode,
        tuple(some.mean(0).tolist()),
        tuple((some**2).mean(0).tolist()),
    )


def _is_gray(pixels: np.ndarray) -> bool:
    first = pixels[..., 0]
    return all(np.array_equal(first, pixels[..., i]) for i in (1, 2))
