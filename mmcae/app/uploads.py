# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Read a picture that a user uploads, or refuse it in one sentence."""

import os
import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from mmcae.apis.image_input import read_image
from mmcae.datasets.transforms.load_image import UnreadableImageError

#: Bytes of an uploaded file. Photographs of phones have 3 to 15 MB.
MAX_BYTES = 20_000_000
#: Pixels of an uploaded picture. Decoded, they take three bytes each.
MAX_PIXELS = 50_000_000

_ORIENTATION = 0x0112  # EXIF
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class RefusedError(ValueError):
    """A picture that the page refuses; the message is for its user."""


def read_upload(path: str | os.PathLike) -> np.ndarray:
    """Decode a picture, after a check of its size.

    Unlike a training, this turns the picture as its EXIF data say, because
    phones store most photographs turned.

    Args:
        path: The file on this machine.

    Returns:
        RGB, uint8, ``(H, W, 3)``.

    Raises:
        RefusedError: If the file is too large or no picture.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
    except OSError:
        raise RefusedError(
            'the picture is no longer on the server: upload it again'
        ) from None
    if size > MAX_BYTES:
        raise RefusedError(
            f'the file has {size / 1e6:.1f} MB, and the page takes up to '
            f'{MAX_BYTES / 1e6:.0f} MB: upload a smaller picture'
        )
    orientation = _check_header(path)
    try:
        pixels = read_image(path)
    except UnreadableImageError as error:
        raise RefusedError(
            f'the file cannot be read as a picture ({error.reason_shown}): '
            'upload a JPEG, PNG or WebP file'
        ) from None
    if orientation in _TURNS:
        turned = Image.fromarray(pixels).transpose(_TURNS[orientation])
        pixels = np.asarray(turned)
    return pixels


def _check_header(path: Path) -> int:
    """Check the number of pixels without decoding them.

    Returns:
        The orientation in the EXIF data; 1 if there is none. A file without a
        header is left to the decoder, which says what is wrong with it.

    Raises:
        RefusedError: If the picture has too many pixels.
    """
    width = height = 0
    orientation = 1
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # the size is checked here
            with Image.open(path) as image:
                width, height = image.size
                orientation = image.getexif().get(_ORIENTATION, 1)
    except Image.DecompressionBombError:
        raise RefusedError(
            'the picture has more than 300 megapixels, and the page takes up '
            f'to {MAX_PIXELS / 1e6:.0f}: upload a smaller picture'
        ) from None
    except Exception:  # decoders raise nearly every built-in type
        orientation = 1
    if width * height > MAX_PIXELS:
        raise RefusedError(
            f'the picture has {width} x {height} pixels, which is '
            f'{width * height / 1e6:.1f} megapixels, and the page takes up to '
            f'{MAX_PIXELS / 1e6:.0f}: upload a smaller picture'
        )
    return orientation if isinstance(orientation, int) else 1
