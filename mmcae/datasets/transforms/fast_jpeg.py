# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""A JPEG decoder that is faster than PIL and gives its pixels."""

import numpy as np
import simplejpeg

# Colors in which libjpeg stores what PIL calls 'RGB'.
_COLOURED = ('YCbCr', 'RGB')


def decode_jpeg(data: bytes, max_pixels: int) -> np.ndarray | None:
    """Decode a sound, colored JPEG.

    What to do with others, and what is wrong with a damaged file, is left
    to PIL: a warning of the decoder is enough for this one to step back.

    Args:
        data: The file.
        max_pixels: Larger images are left to PIL, too.

    Returns:
        uint8 BGR ``(H, W, 3)``, or None.
    """
    try:
        height, width, colors, _ = simplejpeg.decode_jpeg_header(data)
        if colors not in _COLOURED or height * width > max_pixels:
            return None
        return simplejpeg.decode_jpeg(data, colorspace='BGR', strict=True)
    except ValueError:
        return None
