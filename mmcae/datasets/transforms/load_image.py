# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Decode an image file the way the authors do: PIL, RGB, no rotation."""

import io
import os
import warnings
from typing import IO

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmengine import fileio
from PIL import Image, UnidentifiedImageError

from mmcae.registry import TRANSFORMS

from .fast_jpeg import decode_jpeg
from .resize import check_backend

# PIL's own limit for refusing an image, twice its limit for warning.
MAX_PIXELS = 178_956_970

_JPEG_START = b'\xff\xd8\xff'

# Only formats that PIL decodes itself. (EPS, for one, starts Ghostscript.)
Image.init()  # Image.open fails on names it has no plugin for, e.g. AVIF
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
        return f'cannot read the image {self.path}: {self.reason}'


def to_rgb(img: Image.Image) -> Image.Image:
    """Convert any mode of PIL's to 8-bit RGB.

    Transparency is dropped, as PIL does. 16-bit gray is scaled to 8 bits;
    PIL's own conversion saturates.

    Args:
        img: The image.

    Returns:
        The image in mode ``'RGB'``.

    Raises:
        ValueError: If its values have no known range (32-bit integers beyond
            16 bits, floating point).
    """
    if img.mode == 'RGB':
        return img
    if img.mode == 'P' and 'transparency' in img.info:
        img = img.convert('RGBA')
    elif img.mode.startswith('I'):
        gray = np.asarray(img).astype(np.int64)
        low, high = int(gray.min()), int(gray.max())
        if low < 0 or high > 65535:
            raise ValueError(
                f'integer pixels from {low} to {high} have no known scale'
            )
        img = Image.fromarray(((gray + 128) // 257).astype(np.uint8))
    elif img.mode == 'F':
        raise ValueError('floating-point pixels have no known scale')
    return img.convert('RGB')


def decode_image(file: str | IO[bytes]) -> np.ndarray:
    """Decode an image with PIL, looking at its size before its pixels.

    Args:
        file: A path or an open binary file.

    Returns:
        uint8 ``(H, W, 3)`` in OpenMMLab's order of channels, BGR.

    Raises:
        ValueError: If it has more than 179 million pixels.
        Exception: Whatever PIL raises for a damaged file.
    """
    with warnings.catch_warnings():
        # "possible decompression bomb": the limit below is what counts
        warnings.simplefilter('ignore', Image.DecompressionBombWarning)
        opened = Image.open(file, formats=_FORMATS)
    with opened as img:
        width, height = img.size
        if width * height > MAX_PIXELS:
            raise ValueError(
                f'{width} x {height} pixels, more than {MAX_PIXELS:,}'
            )
        return cv2.cvtColor(np.asarray(to_rgb(img)), cv2.COLOR_RGB2BGR)


@TRANSFORMS.register_module()
class LoadImage(BaseTransform):
    """Load an image file.

    Required key: ``img_path``. Added keys: ``img`` (uint8 BGR ``(H, W, 3)``,
    for a data preprocessor with ``to_rgb=True``), ``img_shape``,
    ``ori_shape``. An image that a data set with ``cache=True`` has put there
    already is kept.

    Args:
        backend_args: How mmengine's file back end reads remote files. Local
            files are opened directly when None.
        backend: ``'fast'`` or ``'pil'``. Pixels and errors are the same;
            what the fast decoder has not (all but colored JPEGs, damaged
            files) is PIL's.

    Raises:
        UnreadableImageError: If anything goes wrong with the file.
        ValueError: If there is no such back end.
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
            path: The file, or its address if a back end serves it.

        Returns:
            uint8 BGR ``(H, W, 3)``.

        Raises:
            UnreadableImageError: If anything goes wrong with the file.
        """
        try:
            if self.backend_args is None and '://' not in path:
                if not os.path.isfile(path):  # opening a pipe would block
                    raise FileNotFoundError('no such file')
                img = self._decode_jpeg_file(path)
                return decode_image(path) if img is None else img
            data = fileio.get(path, backend_args=self.backend_args)
            img = self._decode_jpeg(data)
            return decode_image(io.BytesIO(data)) if img is None else img
        except MemoryError:
            raise  # says nothing about the file
        except UnidentifiedImageError as error:
            empty = os.path.isfile(path) and os.path.getsize(path) == 0
            raise UnreadableImageError(
                path,
                'the file is empty'
                if empty
                else 'not an image, or of an unknown format',
            ) from error
        except Exception as error:
            # decoders raise nearly every built-in type for damaged files
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

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(backend_args={self.backend_args}, '
            f'backend={self.backend!r})'
        )
