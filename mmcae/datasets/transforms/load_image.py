# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Decode an image file like the authors of CAE: PIL, RGB, no rotation."""

import io
import os
import warnings
from typing import IO

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmengine import fileio
from PIL import Image, UnidentifiedImageError

from mmcae.checkpoint.printable import printable
from mmcae.registry import TRANSFORMS

from .fast_jpeg import decode_jpeg
from .resize import check_backend

# PIL refuses larger images by default.
MAX_PIXELS = 178_956_970

#: Longest path or reason in a message; Linux allows no longer path.
MAX_SHOWN = 4096

#: Rows that are converted at once.
_ROWS = 1024

_JPEG_START = b'\xff\xd8\xff'

# Only formats that PIL decodes itself. (For EPS it would run Ghostscript.)
Image.init()  # fills Image.OPEN, whose keys are the available formats
_FORMATS = tuple(
    name
    for name in (
        *('JPEG', 'PNG', 'WEBP', 'TIFF', 'GIF', 'BMP', 'PPM'),
        *('JPEG2000', 'AVIF', 'TGA'),
    )
    if name in Image.OPEN
)


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
        opened = Image.open(file, formats=_FORMATS)
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

    Required key: ``img_path``. Added keys: ``img`` (uint8 BGR ``(H, W, 3)``,
    for a data preprocessor with ``to_rgb=True``), ``img_shape``,
    ``ori_shape``. If ``img`` is there already (from a dataset with
    ``cache=True``), it is kept.

    Args:
        backend_args: Arguments of mmengine's file backend, for remote files.
            If None, local files are opened directly.
        backend: ``'fast'`` or ``'pil'``. Both give the same pixels and the
            same errors. ``'fast'`` decodes color JPEGs with a faster library,
            and uses PIL for all other files and for damaged ones.

    Raises:
        UnreadableImageError: If the file cannot be read or decoded.
        ValueError: If ``backend`` is neither of the two.
    """

    def __init__(
        self, backend_args: dict | None = None, backend: str = 'fast'
    ) -> None:
        self.backend_args = backend_args
        self.backend = check_backend(backend)

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
            uint8 BGR ``(H, W, 3)``.

        Raises:
            UnreadableImageError: If the file cannot be read or decoded.
        """
        try:
            if self.backend_args is None and '://' not in path:
                if not os.path.isfile(path):  # opening a pipe would block
                    raise FileNotFoundError('no such file')
                img = self._decode_jpeg_file(path)
                if img is not None:
                    return img
                with _BoundedReader(io.FileIO(path)) as file:
                    return decode_image(file)
            data = fileio.get(path, backend_args=self.backend_args)
            img = self._decode_jpeg(data)
            return decode_image(io.BytesIO(data)) if img is None else img
        except MemoryError:
            raise  # not an error of the file
        except UnidentifiedImageError as error:
            empty = os.path.isfile(path) and os.path.getsize(path) == 0
            raise UnreadableImageError(
                path,
                'the file is empty'
                if empty
                else 'not an image, or of an unknown format',
            ) from error
        except Exception as error:
            # Decoders raise nearly every built-in type for damaged files.
            reason = str(error).replace(path, 'the file') or repr(error)
            raise UnreadableImageError(
                path, f'{type(error).__name__}: {reason}'
            ) from error

    def _decode_jpeg(self, data: bytes) -> np.ndarray | None:
        if self.backend == 'pil' or not data.startswith(_JPEG_START):
            return None
        return decode_jpeg(data, MAX_PIXELS)

    def _decode_jpeg_file(self, path: str) -> np.ndarray | None:
        with open(path, 'rb', buffering=0) as file:
            start = file.read(len(_JPEG_START))  # the rest may be huge
            data = start + file.readall() if start == _JPEG_START else b''
        return self._decode_jpeg(data)

    def target_view_settings(self) -> dict:
        """Nothing to describe: all backends give the same pixels."""
        return {}

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(backend_args={self.backend_args}, '
            f'backend={self.backend!r})'
        )
