# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Map pixels of any type to the range from 0 to 255, and channels to a count.

A range is given for all channels, ``(low, high)``, or for each one,
``[(low, high), ...]``. With ``'percentile'`` every image has its own.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .read_pixels import MAX_CHANNELS

#: The darkest and the brightest pixels are clipped: they are often broken.
PERCENTILES = (0.5, 99.5)
#: About as many pixels of an image are sorted for its percentiles.
_SORTED = 100_000

ValueRange = str | Sequence[float] | Sequence[Sequence[float]] | None


def check_channels(channels: int) -> int:
    """Check a number of channels.

    Args:
        channels: The number.

    Returns:
        The number.

    Raises:
        ValueError: If it is not from 1 to 16.
    """
    if not isinstance(channels, int) or not 1 <= channels <= MAX_CHANNELS:
        raise ValueError(
            f'channels must be a number from 1 to {MAX_CHANNELS}, got '
            f'{channels!r}'
        )
    return channels


def check_value_range(value: ValueRange, channels: int) -> Any:
    """Check a range, and give it one form.

    Args:
        value: As in the config.
        channels: Channels of the images.

    Returns:
        None, ``'percentile'``, or a tuple of one pair, or of one for each
        channel.

    Raises:
        ValueError: If it is something else.
    """
    if value is None or value == 'percentile':
        return value
    problem = ValueError(
        "value_range must be None, 'percentile', (low, high) with low < high, "
        f'or such a pair for each of {channels} channels, got {value!r}'
    )
    if isinstance(value, str):
        raise problem
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise problem from None
    pairs = array[None] if array.ndim == 1 else array
    if (
        pairs.shape not in ((1, 2), (channels, 2))
        or not np.isfinite(pairs).all()
        or not (pairs[:, 0] < pairs[:, 1]).all()
    ):
        raise problem
    return tuple((low, high) for low, high in pairs.tolist())


def fit_channels(
    pixels: np.ndarray, channels: int, alpha: bool = False
) -> np.ndarray:
    """Give an image the channels that are wanted.

    Transparency is dropped if it is not wanted, and gray becomes three equal
    channels. Nothing else is changed.

    Args:
        pixels: ``(H, W, C)``.
        channels: How many are wanted.
        alpha: Whether the last channel is transparency.

    Returns:
        ``(H, W, channels)``.

    Raises:
        ValueError: If the image has another number of channels.
    """
    found = pixels.shape[2]
    if found == channels:
        return pixels
    if alpha:
        pixels = pixels[..., :-1]
    if pixels.shape[2] == 1 and channels == 3:
        return pixels.repeat(3, axis=2)
    if pixels.shape[2] != channels:
        raise ValueError(
            f'the image has {found} channel{"s" if found > 1 else ""}, and '
            f'channels={channels} is set'
        )
    return pixels


def percentile_range(pixels: np.ndarray) -> tuple[tuple[float, float], ...]:
    """Find the range that most pixels of an image are in.

    Args:
        pixels: ``(H, W, C)``.

    Returns:
        A pair for each channel; one for all of three channels, which are
        colors, so that their balance stays.

    Raises:
        ValueError: If all pixels of a channel are equal.
    """
    height, width, channels = pixels.shape
    step = max(1, round((height * width / _SORTED) ** 0.5))
    some = pixels[::step, ::step].reshape(-1, channels)
    if channels == 3:
        some = some.reshape(-1, 1)
    low, high = np.percentile(some, PERCENTILES, axis=0)
    if not (low < high).all():
        channel = int(np.argmin(low < high))
        raise ValueError(
            f'nearly all pixels of channel {channel + 1} have the value '
            f'{low[channel]:g}, so it has no range'
        )
    return tuple(zip(low.tolist(), high.tolist(), strict=True))


def to_range(pixels: np.ndarray, value_range: Any = None) -> np.ndarray:
    """Map pixels linearly to the range from 0 to 255.

    Args:
        pixels: ``(H, W, C)``, of any real type.
        value_range: What `check_value_range` returned. The values of the pair
            become 0 and 255, and values outside are clipped. None keeps 8
            bits, and divides 16 bits by 257.

    Returns:
        ``(H, W, C)``: uint8 if 8 bits are kept, float32 otherwise.

    Raises:
        ValueError: If pixels are not finite, if their type has no known
            range, or if an image without contrast has no percentiles.
    """
    if pixels.dtype.kind == 'f' and not np.isfinite(pixels).all():
        broken = 1 - np.isfinite(pixels).mean()
        raise ValueError(
            f'{max(broken, 0.0001):.2%} of its values are NaN or infinite'
        )
    if value_range is None:
        if pixels.dtype == np.uint8:
            return pixels
        if pixels.dtype == np.bool_:
            return pixels.astype(np.uint8) * 255
        if pixels.dtype == np.uint16:
            return pixels.astype(np.float32) / 257
        raise ValueError(
            f'{pixels.dtype} pixels have no known range: set value_range of '
            "mmcae.LoadImage to (low, high) or 'percentile'"
        )
    if value_range == 'percentile':
        value_range = percentile_range(pixels)
    low, high = np.asarray(value_range, dtype=np.float64).T
    # float64 before the difference: large numbers may differ by little.
    wide = pixels.astype(
        np.float32 if pixels.dtype.itemsize <= 2 else np.float64
    )
    mapped = (wide - low.astype(wide.dtype)) * (255 / (high - low)).astype(
        wide.dtype
    )
    return np.clip(mapped, 0, 255).astype(np.float32, copy=False)
