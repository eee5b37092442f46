# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Read the pixels of an image file as they are: all channels, all bits.

PIL reads what it can keep exactly. OpenCV reads PNG files with 16 bits in
color, and tifffile the TIFF files that PIL would reduce or cannot read. NumPy
arrays are read without pickle.
"""

import importlib.util
import logging
import math
import os
import warnings
import zlib
from typing import Any, BinaryIO, NamedTuple

import cv2
import numpy as np
from PIL import Image

#: PIL refuses larger images by default.
MAX_PIXELS = 178_956_970
#: The most channels that an image may have.
MAX_CHANNELS = 16
#: The extension of arrays.
ARRAY_EXTENSIONS = ('.npy',)

# Only formats that PIL decodes itself. (For EPS it would run Ghostscript.)
Image.init()  # fills Image.OPEN, whose keys are the available formats
FORMATS = tuple(
    name
    for name in (
        *('JPEG', 'PNG', 'WEBP', 'TIFF', 'GIF', 'BMP', 'PPM'),
        *('JPEG2000', 'AVIF', 'TGA'),
    )
    if name in Image.OPEN
)

_ARRAY_START = b'\x93NUMPY'
_TIFF_STARTS = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')
_PNG_START = b'\x89PNG\r\n\x1a\n'
#: Channels of PNG's color types with 16 bits.
_PNG_CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}
#: Modes of PIL whose pixels NumPy takes as they are, and their channels.
_EXACT_MODES = {
    **{'L': 1, 'RGB': 3, 'LA': 2, 'RGBA': 4, 'RGBX': 4},
    **{'I;16': 1, 'I;16B': 1, 'I;16L': 1, 'I': 1, 'F': 1},
}
_ALPHA_MODES = ('LA', 'RGBA', 'PA')
#: Compressions of TIFF that are Python's zlib.
_DEFLATE = (8, 32946)


class PixelFormat(NamedTuple):
    """What a file says about its pixels.

    Attributes:
        width: In pixels.
        height: In pixels.
        channels: As they are in the file; 3 or 4 for a palette.
        depth: NumPy's name of the type, such as ``'uint16'``.
        alpha: Whether the last channel is transparency.
        name: Of the format: ``'NPY'``, or as PIL calls it.
    """

    width: int
    height: int
    channels: int
    depth: str
    alpha: bool
    name: str

    @property
    def is_photo(self) -> bool:
        """Whether it is 8-bit gray or RGB, perhaps with transparency."""
        colors = self.channels - self.alpha
        return self.depth == 'uint8' and colors in (1, 3)


def pixel_format(path: str) -> PixelFormat:
    """Read the header of an image file.

    Args:
        path: The file.

    Raises:
        ImportError: If the file needs a package that is not installed.
        Exception: Whatever a library raises for a damaged file.
    """
    with open(path, 'rb') as file:
        return _Source(file).format


def read_pixels(
    file: BinaryIO, channels: int | None = None
) -> tuple[np.ndarray, bool]:
    """Decode an image, after a check of its size.

    Args:
        file: An open file that can seek.
        channels: How many are wanted. It decides which axis of an array has
            the channels; None takes the shorter one of the first and last.

    Returns:
        The pixels as they are in the file, ``(H, W, C)``, color as RGB; and
        whether the last channel is transparency.

    Raises:
        ImportError: If the file needs a package that is not installed.
        ValueError: If the image is too large, is cut off, or has axes that
            are not those of an image.
        Exception: Whatever a library raises for a damaged file.
    """
    source = _Source(file, channels)
    return source.read(), source.format.alpha


def channels_last(
    array: np.ndarray, channels: int | None = None
) -> np.ndarray:
    """Give an array the axes of an image.

    Args:
        array: ``(H, W)``, ``(H, W, C)`` or ``(C, H, W)``.
        channels: As for :func:`read_pixels`. If the first and the last axis
            both fit, the last one is taken.

    Returns:
        ``(H, W, C)``, without a copy.

    Raises:
        ValueError: If no axis can be the channels.
    """
    shape = array.shape
    if array.size == 0:
        raise ValueError(f'an array {shape} has no pixels')
    if array.ndim == 2:
        return array[..., None]
    if array.ndim != 3:
        raise ValueError(
            f'an array {shape} has {array.ndim} axes; an image is (H, W), '
            '(H, W, C) or (C, H, W)'
        )
    axis = _channel_axis(shape, channels)
    if axis is None:
        wanted = f'{channels}' if channels else f'1 to {MAX_CHANNELS}'
        raise ValueError(
            f'an array {shape}: neither its first nor its last axis has '
            f'{wanted} channels'
        )
    return array if axis == 2 else array.transpose(1, 2, 0)


def _channel_axis(shape: tuple[int, ...], channels: int | None) -> int | None:
    first, last = shape[0], shape[2]
    # Gray is a channel, too: the caller knows whether it can be used.
    for count in (channels, 1) if channels else ():
        if count in (first, last):
            return 2 if last == count else 0
    if channels or min(first, last) > MAX_CHANNELS:
        return None
    return 2 if last <= first else 0


class _Source:
    """An open file, and the way to its pixels."""

    def __init__(self, file: BinaryIO, channels: int | None = None) -> None:
        self.file = file
        self.wanted = channels
        start = file.read(26)
        file.seek(0)
        self.is_array = start.startswith(_ARRAY_START)
        self.is_tiff = start.startswith(_TIFF_STARTS)
        # Bits and color type stand in the first chunk.
        self.is_deep_png = (
            start.startswith(_PNG_START) and start[24:25] == b'\x10'
        )
        self.png_color = start[25] if self.is_deep_png else 0
        self.exact = False
        self.format = self._array_format() if self.is_array else self._header()
        _check_size(self.format)

    def read(self) -> np.ndarray:
        """Decode the pixels, ``(H, W, C)``."""
        self.file.seek(0)
        if self.is_array:
            array = np.load(self.file, allow_pickle=False)
            return channels_last(array, self.wanted)
        if self.is_deep_png:
            return self._deep_png()
        if self.is_tiff and not self.exact:
            return channels_last(_decode_tiff(self.file), self.wanted)
        with _opened(self.file) as image:
            if image.mode not in _EXACT_MODES:
                image = image.convert('RGBA' if self.format.alpha else 'RGB')
            pixels = np.asarray(image)
        if pixels.dtype == np.int32 and _are_16_bits(pixels):
            pixels = pixels.astype(np.uint16)
        return pixels if pixels.ndim == 3 else pixels[..., None]

    def _array_format(self) -> PixelFormat:
        version = np.lib.format.read_magic(self.file)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f'version {version} of the array is not known')
        read = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = read(self.file)
        _check_type(dtype)
        needed = math.prod(shape) * dtype.itemsize + self.file.tell()
        _check_end(needed, self.file)
        return _format_of(shape, dtype, 'NPY', self.wanted)

    def _header(self) -> PixelFormat:
        try:
            with _opened(self.file) as image:
                (width, height), mode = image.size, image.mode
                name = image.format or ''
                pages = getattr(image, 'n_frames', 1) if self.is_tiff else 1
                exact = not self.is_tiff or _is_exact(image)
                clear = 'transparency' in image.info
        except Image.UnidentifiedImageError:
            if not self.is_tiff:
                raise
            return _tiff_format(self.file, self.wanted)
        if self.is_tiff and (pages > 1 or not exact):
            return _tiff_format(self.file, self.wanted)
        self.exact = True
        if self.is_deep_png:
            channels = _PNG_CHANNELS.get(self.png_color, 0)
            alpha, depth = self.png_color in (4, 6), 'uint16'
        else:
            alpha = mode in _ALPHA_MODES or (mode == 'P' and clear)
            channels = _EXACT_MODES.get(mode, 4 if alpha else 3)
            depth = _depth_of(mode)
        return PixelFormat(width, height, channels, depth, alpha, name)

    def _deep_png(self) -> np.ndarray:
        data = np.frombuffer(self.file.read(), dtype=np.uint8)
        pixels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
        if pixels is None:
            raise ValueError('the PNG is damaged or truncated')
        if pixels.ndim == 2:
            pixels = pixels[..., None]
        elif pixels.shape[2] >= 3:
            order = [2, 1, 0, 3][: pixels.shape[2]]
            pixels = pixels[..., order]
        wanted = self.format.channels
        if pixels.shape[2] == 4 and wanted == 2:  # OpenCV makes gray a color
            pixels = pixels[..., [0, 3]]
        if pixels.shape[2] != wanted or pixels.dtype != np.uint16:
            raise ValueError('the PNG is damaged')
        return pixels


def _opened(file: BinaryIO) -> Image.Image:
    """Open an image; what is wrong with it is said by an error, not a log."""
    file.seek(0)
    log = logging.getLogger('PIL.TiffImagePlugin')
    before, log.disabled = log.disabled, True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            return Image.open(file, formats=FORMATS)
    finally:
        log.disabled = before


def _tag(image: Image.Image, number: int) -> tuple[int, ...]:
    """The numbers of a tag of a TIFF."""
    value: Any = getattr(image, 'tag_v2', {}).get(number, ())
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _is_exact(image: Image.Image) -> bool:
    """Whether PIL keeps the pixels of a TIFF as they are."""
    bits = max(_tag(image, 258), default=1)
    samples = max(_tag(image, 277), default=1)
    if samples > 1 and 2 in _tag(image, 284):  # a plane for each channel
        return False
    channels = _EXACT_MODES.get(image.mode)
    if channels is None:  # a palette, 1 bit, CMYK: becomes 8-bit color
        return bits <= 8
    room = 8 * np.dtype(_depth_of(image.mode)).itemsize
    return channels == samples and bits <= room


def _are_16_bits(pixels: np.ndarray) -> bool:
    """Whether they are 16-bit pixels; PIL has some of them as int32."""
    return pixels.min() >= 0 and pixels.max() <= 65_535


def _depth_of(mode: str) -> str:
    if mode == 'F':
        return 'float32'
    if mode.startswith('I'):
        return 'int32' if mode == 'I' else 'uint16'
    return 'uint8'


def _format_of(
    shape: tuple[int, ...], dtype: np.dtype, name: str, wanted: int | None
) -> PixelFormat:
    # A view of one number has the axes, but no memory.
    empty = np.broadcast_to(np.empty((), np.uint8), shape)
    height, width, channels = channels_last(empty, wanted).shape
    return PixelFormat(width, height, channels, dtype.name, False, name)


def _check_type(dtype: np.dtype) -> None:
    if dtype.kind not in 'buif' or dtype.itemsize > 8:
        raise ValueError(f'pixels of the type {dtype} are not supported')


def _check_size(found: PixelFormat) -> None:
    width, height, channels = found.width, found.height, found.channels
    if width * height > MAX_PIXELS:
        raise ValueError(
            f'{width} x {height} pixels, more than {MAX_PIXELS:,}'
        )
    if width * height * channels > 3 * MAX_PIXELS:
        raise ValueError(
            f'{width} x {height} pixels of {channels} channels, more than '
            f'{3 * MAX_PIXELS:,} numbers'
        )


def _check_end(needed: int, file: BinaryIO) -> None:
    size = file.seek(0, os.SEEK_END)
    if needed > size:
        raise ValueError(
            f'truncated: the file has {size:,} bytes, and its pixels end at '
            f'{needed:,}'
        )


def _tifffile() -> Any:
    try:
        import tifffile
    except ImportError as error:
        raise ImportError(
            'this TIFF has more channels or bits than PIL reads, and the '
            "package tifffile does: pip install 'mmcae[tiff]'"
        ) from error
    return tifffile


def _open_tiff(file: BinaryIO) -> Any:
    file.seek(0)
    # The XML of OME-TIFF can name other files, so it is not read.
    return _tifffile().TiffFile(file, is_ome=False)


def _tiff_format(file: BinaryIO, wanted: int | None) -> PixelFormat:
    with _open_tiff(file) as tiff:
        shape, dtype, alpha = _tiff_shape(tiff)
    found = _format_of(shape, dtype, 'TIFF', wanted)
    return found._replace(alpha=alpha)


def _tiff_shape(tiff: Any) -> tuple[tuple[int, ...], np.dtype, bool]:
    """Axes longer than 1, the type, and whether there is transparency."""
    if not tiff.series:
        raise ValueError('the TIFF has no image')
    series = tiff.series[0]
    if series.dtype is None:
        raise ValueError('the pixels of the TIFF have no known type')
    _check_type(series.dtype)
    shape, axes = _squeezed(series)
    first = series.keyframe
    # 1 is associated and 2 unassociated transparency, 0 any other channel.
    extra: Any = getattr(first, 'extrasamples', ()) or ()
    alpha = bool(extra) and int(extra[-1]) in (1, 2) and axes[-1:] == 'S'
    return shape, series.dtype, alpha


def _squeezed(series: Any) -> tuple[tuple[int, ...], str]:
    """The axes of the first image of a TIFF; one channel has no axis."""
    kept = [
        (length, axis)
        for length, axis in zip(series.shape, series.axes, strict=True)
        if length > 1 or axis in 'YX'
    ]
    return tuple(n for n, _ in kept), ''.join(axis for _, axis in kept)


def _decode_tiff(file: BinaryIO) -> np.ndarray:
    with _open_tiff(file) as tiff:
        shape, dtype, _ = _tiff_shape(tiff)
        series = tiff.series[0]
        numbers = math.prod(shape)
        if numbers > 3 * MAX_PIXELS:
            raise ValueError(
                f'an image {shape}, more than {3 * MAX_PIXELS:,} numbers'
            )
        _check_segments(series, file, numbers * dtype.itemsize)
        try:
            array = series.asarray(maxworkers=1)
        except (KeyError, ValueError) as error:
            if 'imagecodecs' in str(error):
                raise ImportError(
                    f'this TIFF is compressed: {error.args[0]}, pip install '
                    "'mmcae[tiff]'"
                ) from error
            raise
    return array.reshape(shape)


def _check_segments(series: Any, file: BinaryIO, size: int) -> None:
    """Check that the segments of a TIFF are in the file and not too large."""
    if series.dataoffset is not None:
        _check_end(series.dataoffset + size, file)
        return
    bounded = importlib.util.find_spec('imagecodecs') is not None
    for page in series.pages:
        if page is None:
            continue
        segment = math.prod(page.chunks) * page.dtype.itemsize
        if segment > 24 * MAX_PIXELS:
            raise ValueError(f'a segment of the TIFF has {segment:,} bytes')
        for offset, count in zip(
            page.dataoffsets, page.databytecounts, strict=True
        ):
            _check_end(offset + count, file)
            if page.compression in _DEFLATE and not bounded and count:
                file.seek(offset)
                _check_inflated(file.read(count), segment)


def _check_inflated(data: bytes, most: int) -> None:
    """Refuse data that become more bytes; tifffile would make them all."""
    inflated = zlib.decompressobj().decompress(data, most + 1)
    if len(inflated) > most:
        raise ValueError(
            f'a compressed part of the TIFF has more than its {most:,} bytes'
        )


def is_array_file(start: bytes) -> bool:
    """Whether the first bytes of a file are those of a NumPy array."""
    return start.startswith(_ARRAY_START)


def is_tiff_file(start: bytes) -> bool:
    """Whether the first bytes of a file are those of a TIFF."""
    return start.startswith(_TIFF_STARTS)
