# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Decode an image file like the authors of CAE: PIL, RGB, no rotation.

Images that are not 8-bit RGB keep their channels and bits if that is wanted.
"""

import io
import os
import warnings
from typing import IO, Any

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmengine import fileio
from PIL import Image, UnidentifiedImageError

from mmcae.checkpoint.printable import printable
from mmcae.registry import TRANSFORMS

from .fast_jpeg import decode_jpeg
from .read_pixels import (
    FORMATS,
    MAX_PIXELS,
    is_array_file,
    is_tiff_file,
    read_pixels,
)
from .resize import check_backend
from .value_range import (
    ValueRange,
    check_channels,
    check_value_range,
    fit_channels,
    to_range,
)

#: Longest path or reason in a message; Linux allows no longer path.
MAX_SHOWN = 4096

#: Rows that are converted at once.
_ROWS = 1024

_JPEG_START = b'\xff\xd8\xff'


class UnreadableImageError(Exception):
    """An image file that could not be decoded.

    Args:
        path: The file.
        reason: What is wrong with it.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        path = printable(self.path, MAX_SHOWN)
        return f'cannot read the image {path}: {self.reason_shown}'

    @property
    def reason_shown(self) -> str:
        """The reason, on one line and without control characters."""
        return printable(self.reason, MAX_SHOWN)


def to_rgb(img: Image.Image) -> Image.Image:
    """Convert a PIL image of any mode to 8-bit RGB.

    Transparency is dropped, as in PIL's own conversion. 16-bit gray values
    are scaled to 8 bits, while PIL would clip them at 255.

    Args:
        img: The image.

    Returns:
        The image in mode ``'RGB'``.

    Raises:
        ValueError: If the range of its values is not known (integers that
            need more than 16 bits, floating point).
    """
    if img.mode == 'RGB':
        return img
    if img.mode == 'P' and 'transparency' in img.info:
        img = img.convert('RGBA')
    elif img.mode.startswith('I'):
        img = Image.fromarray(_to_8_bits(np.asarray(img)))
    elif img.mode == 'F':
        raise ValueError('floating-point pixels have no known scale')
    return img.convert('RGB')


def _to_8_bits(gray: np.ndarray) -> np.ndarray:
    """Scale 16-bit gray values; rounded, (H, W)."""
    low, high = int(gray.min()), int(gray.max())
    if low < 0 or high > 65535:
        raise ValueError(
            f'integer pixels from {low} to {high} have no known scale'
        )
    small = np.empty(gray.shape, dtype=np.uint8)
    # Row by row: the image may be large, and the sum needs 17 bits.
    for start in range(0, len(gray), _ROWS):
        rows = gray[start : start + _ROWS].astype(np.uint32)
        small[start : start + _ROWS] = (rows + 128) // 257
    return small


class _BoundedReader(io.BufferedReader):
    """A file that is never asked for more bytes than it has.

    A damaged file may announce a part of 2 GB. Python would allocate them
    before it reads, and where memory is limited that is a `MemoryError`.
    """

    def read(self, size: int | None = -1, /) -> bytes:
        """Read up to ``size`` bytes, or all."""
        if size is not None and size > 0:
            left = os.fstat(self.fileno()).st_size - self.tell()
            size = max(0, min(size, left))
        return super().read(size)


def decode_image(file: str | IO[bytes]) -> np.ndarray:
    """Decode an image with PIL, after a check of its size.

    Args:
        file: A path or an open binary file.

    Returns:
        uint8 ``(H, W, 3)``, BGR: the channel order of OpenMMLab.

    Raises:
        ValueError: If the image has more than 179 million pixels.
        Exception: Whatever PIL raises for a damaged file.
    """
    with warnings.catch_warnings():
        # The check below replaces the warning "possible decompression bomb".
        warnings.simplefilter('ignore', Image.DecompressionBombWarning)
        opened = Image.open(file, formats=FORMATS)
    with opened as img:
        width, height = img.size
        if width * height > MAX_PIXELS:
            raise ValueError(
                f'{width} x {height} pixels, more than {MAX_PIXELS:,}'
            )
        if img.mode.startswith('I'):
            gray = _to_8_bits(np.asarray(img))
            return cv2.cvtColor(gray, cv2.COLOR_GRAY2BGR)
        if img.mode == 'L' and 'transparency' not in img.info:
            return cv2.cvtColor(np.asarray(img), cv2.COLOR_GRAY2BGR)
        return cv2.cvtColor(np.asarray(to_rgb(img)), cv2.COLOR_RGB2BGR)


@TRANSFORMS.register_module()
class LoadImage(BaseTransform):
    """Load an image file.

    Required key: ``img_path``. Added keys: ``img`` ``(H, W, C)``,
    ``img_shape``, ``ori_shape``. If ``img`` is there already (from a dataset
    with ``cache=True``), it is kept.

    Three channels are BGR, for a data preprocessor with ``to_rgb=True``; any
    other number of channels keeps the order of the file. The pixels are uint8,
    or float32 from 0 to 255 if the file has more bits or ``value_range`` is
    given.

    By default every image becomes 8-bit color, as it did for the authors:
    gray is copied to three channels, transparency is dropped, and 16-bit gray
    is scaled to 8 bits.

    Args:
        backend_args: Arguments of mmengine's file backend, for remote files.
            If None, local files are opened directly.
        backend: ``'fast'`` or ``'pil'``. Both give the same pixels and the
            same errors. ``'fast'`` decodes color JPEGs with a faster library,
            and uses PIL for all other files and for damaged ones.
        channels: Channels of the images, from 1 to 16. Other images are
            unreadable, but 3 also takes gray images, and transparency is
            dropped where it is one channel too many.
        value_range: The values that become 0 and 255: ``(low, high)``, a pair
            for each channel (color as RGB), or ``'percentile'`` for the range
            of each image. Values outside are clipped. None keeps 8 bits and
            divides 16 bits by 257.

    Raises:
        UnreadableImageError: If the file cannot be read or decoded.
        ValueError: If an argument is not valid.
    """

    def __init__(
        self,
        backend_args: dict | None = None,
        backend: str = 'fast',
        channels: int = 3,
        value_range: ValueRange = None,
    ) -> None:
        self.backend_args = backend_args
        self.backend = check_backend(backend)
        self.channels = check_channels(channels)
        self.value_range = check_value_range(value_range, channels)

    @property
    def is_plain(self) -> bool:
        """Whether every image becomes 8-bit color."""
        return self.channels == 3 and self.value_range is None

    def transform(self, results: dict) -> dict:
        """Add the image to the results."""
        if results.get('img') is None:
            results['img'] = self.load(results['img_path'])
        results['img_shape'] = results['img'].shape[:2]
        results['ori_shape'] = results['img'].shape[:2]
        return results

    def load(self, path: str) -> np.ndarray:
        """Decode one file.

        Args:
            path: The file, or its URL if a file backend reads it.

        Returns:
            ``(H, W, C)``, see the class: uint8 BGR by default.

        Raises:
            UnreadableImageError: If the file cannot be read or decoded.
            ImportError: If the file needs a package that is not installed.
        """
        start = b''
        try:
            if self.backend_args is None and '://' not in path:
                if not os.path.isfile(path):  # opening a pipe would block
                    raise FileNotFoundError('no such file')
                img = self._decode_jpeg_file(path)
                if img is not None:
                    return img
                with _BoundedReader(io.FileIO(path)) as file:
                    start = file.peek(8)[:8]
                    return self._decode(file, start)
            data = fileio.get(path, backend_args=self.backend_args)
            img, start = self._decode_jpeg(data), data[:8]
            return (
                self._decode(io.BytesIO(data), start) if img is None else img
            )
        except (MemoryError, ImportError):
            raise  # not an error of the file
        except UnidentifiedImageError as error:
            raise UnreadableImageError(
                path, self._why_unknown(path, start)
            ) from error
        except Exception as error:
            # Decoders raise nearly every built-in type for damaged files.
            reason = str(error).replace(path, 'the file') or repr(error)
            raise UnreadableImageError(
                path, f'{type(error).__name__}: {reason}'
            ) from error

    def _decode(self, file: Any, start: bytes) -> np.ndarray:
        if self.is_plain and not is_array_file(start):
            return decode_image(file)
        pixels, alpha = read_pixels(file, self.channels)
        pixels = fit_channels(pixels, self.channels, alpha)
        pixels = to_range(pixels, self.value_range)
        if self.channels == 3:
            pixels = pixels[..., ::-1]  # BGR: the order of OpenMMLab
        return np.require(pixels, requirements=['C', 'W'])

    def _why_unknown(self, path: str, start: bytes) -> str:
        if self.is_plain and is_tiff_file(start):
            return (
                'a TIFF that is not 8-bit color: set channels and value_range '
                'of mmcae.LoadImage'
            )
        if os.path.isfile(path) and os.path.getsize(path) == 0:
            return 'the file is empty'
        return 'not an image, or of an unknown format'

    def _decode_jpeg(self, data: bytes) -> np.ndarray | None:
        plain = self.backend == 'fast' and self.is_plain
        if not plain or not data.startswith(_JPEG_START):
            return None
        return decode_jpeg(data, MAX_PIXELS)

    def _decode_jpeg_file(self, path: str) -> np.ndarray | None:
        with open(path, 'rb', buffering=0) as file:
            start = file.read(len(_JPEG_START))  # the rest may be huge
            data = start + file.readall() if start == _JPEG_START else b''
        return self._decode_jpeg(data)

    def target_view_settings(self) -> dict:
        """Describe what is not 8-bit color; all backends are equal."""
        if self.is_plain:
            return {}
        return dict(channels=self.channels, value_range=self.value_range)

    def __repr__(self) -> str:
        more = ''
        if not self.is_plain:
            more = (
                f', channels={self.channels}, value_range={self.value_range}'
            )
        return (
            f'{type(self).__name__}(backend_args={self.backend_args}, '
            f'backend={self.backend!r}{more})'
        )
