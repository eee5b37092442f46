# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""PIL's antialiased resize, faster: by cykooz.resizer's vector kernels.

PIL resamples the rows, rounds to 8 bits, then the columns; so does this.
(From version 13 on PIL itself takes the columns first where that is cheaper.
About 0.15 gray levels lie between the two orders.)
"""

import importlib.util

import cv2
import numpy as np

#: Whether it is installed: not on platforms that it has no wheel for.
AVAILABLE = importlib.util.find_spec('cykooz_resizer') is not None

if AVAILABLE:
    from cykooz_resizer import (
        FilterType,
        ImageData,
        PixelType,
        ResizeAlg,
        ResizeOptions,
        Resizer,
    )

    _OPTIONS = {
        name: ResizeOptions(ResizeAlg.convolution(kind), use_alpha=False)
        for name, kind in (
            ('bilinear', FilterType.bilinear),
            ('bicubic', FilterType.catmull_rom),
            ('lanczos', FilterType.lanczos3),
        )
    }

#: The filters that it shares with PIL.
FILTERS = ('bilinear', 'bicubic', 'lanczos')


class FastSource:
    """An image in the library's memory, to be resized to several sizes.

    Args:
        img: uint8 ``(H, W)`` or ``(H, W, 3)``, C-contiguous.
    """

    def __init__(self, img: np.ndarray) -> None:
        self._kind, self._channels = PixelType.U8, 1
        if img.ndim == 3:  # pixels of 4 bytes take two thirds of the time
            self._kind, self._channels = PixelType.U8x4, 4
            img = cv2.cvtColor(img, cv2.COLOR_BGR2BGRA)
        self._rows, columns = img.shape[:2]
        self._data = ImageData(columns, self._rows, self._kind, img.tobytes())

    def resize(self, size: tuple[int, int], interpolation: str) -> np.ndarray:
        """Resize, antialiased, rows first.

        Args:
            size: ``(height, width)``.
            interpolation: One of ``FILTERS``.

        Returns:
            uint8, ``(height, width)`` or ``(height, width, 3)``. In memory
            the channels come first, as ``PackInputs`` wants them.
        """
        height, width = size
        options = _OPTIONS[interpolation]
        narrow = ImageData(width, self._rows, self._kind)
        small = ImageData(width, height, self._kind)
        resizer = Resizer()  # holds a lock, so one is not kept for all threads
        resizer.resize(self._data, narrow, options)
        resizer.resize(narrow, small, options)
        pixels = np.frombuffer(small.get_buffer(), np.uint8)
        if self._channels == 1:
            return pixels.reshape(size).copy()  # bytes are read-only
        planes = np.empty((self._channels, *size), np.uint8)
        cv2.split(pixels.reshape(*size, self._channels), list(planes))
        return planes[:3].transpose(1, 2, 0)
