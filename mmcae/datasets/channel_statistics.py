# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Measure the range, mean and standard deviation of a folder's images."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .transforms.read_pixels import read_pixels
from .transforms.value_range import (
    PERCENTILES,
    check_value_range,
    fit_channels,
    to_range,
)

#: Images that are decoded, at most.
MOST_IMAGES = 400
#: About as many pixels of each are used.
_PIXELS = 10_000


class ChannelStatistics(NamedTuple):
    """What to write into a config.

    Attributes:
        value_range: Of ``mmcae.LoadImage``: a pair for each channel, one for
            all of three; None for 8 bits.
        mean: Of each channel, from 0 to 255, after the range is mapped.
        std: The standard deviation, likewise.
        images: Number of images measured.
    """

    value_range: tuple[tuple[float, float], ...] | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    images: int


class ChannelSample:
    """Pixels of several images, on a regular grid in each."""

    def __init__(self) -> None:
        self._parts: list[np.ndarray] = []

    def add(self, pixels: np.ndarray) -> None:
        """Add an image.

        Args:
            pixels: ``(H, W, C)``, with the same channels for all.

        Raises:
            ValueError: If a value is not finite.
        """
        height, width, channels = pixels.shape
        if pixels.dtype.kind == 'f' and not np.isfinite(pixels).all():
            raise ValueError('some of its values are NaN or infinite')
        step = max(1, round((height * width / _PIXELS) ** 0.5))
        self._parts.append(pixels[::step, ::step].reshape(-1, channels))

    def measure(self, value_range: Any = None) -> ChannelStatistics:
        """Measure the images that were added.

        Args:
            value_range: A range that is given. None measures the percentiles
                0.5 and 99.5 of all images together; 8 bits stay as they are.

        Raises:
            ValueError: If all pixels of a channel are equal.
        """
        pixels = np.concatenate(self._parts)
        if value_range is not None:
            value_range = check_value_range(value_range, pixels.shape[1])
        elif pixels.dtype != np.uint8:
            value_range = _measured_range(pixels)
        mapped = to_range(pixels[:, None], value_range)[:, 0]
        mapped = mapped.astype(np.float64)
        return ChannelStatistics(
            value_range,
            tuple(round(x, 1) for x in mapped.mean(axis=0).tolist()),
            # A blank channel would divide by 0.
            tuple(max(1.0, round(x, 1)) for x in mapped.std(axis=0).tolist()),
            len(self._parts),
        )


def measure_channels(
    paths: Sequence[str], channels: int, value_range: Any = None
) -> ChannelStatistics:
    """Measure the images of a folder, for the normalization of a config.

    At most 400 images, spread evenly over the list, are read, and always the
    same ones.

    Args:
        paths: The images.
        channels: Of each image.
        value_range: As for `ChannelSample.measure`.

    Raises:
        ValueError: If an image has other channels or no range.
        Exception: Whatever a library raises for a damaged file.
    """
    sample = ChannelSample()
    count = min(len(paths), MOST_IMAGES)
    for i in range(count):
        sample.add(load_pixels(paths[i * len(paths) // count], channels))
    return sample.measure(value_range)


def load_pixels(path: str, channels: int) -> np.ndarray:
    """Read an image as it is, with the channels that are wanted.

    Args:
        path: The file.
        channels: See `fit_channels`.

    Returns:
        ``(H, W, channels)``, of the file's type.
    """
    with open(path, 'rb') as file:
        pixels, alpha = read_pixels(file, channels)
    return fit_channels(pixels, channels, alpha)


def _measured_range(pixels: np.ndarray) -> tuple[tuple[float, float], ...]:
    together = pixels.shape[1] == 3  # colors: their balance stays
    some = pixels.reshape(-1, 1) if together else pixels
    lows, highs = np.percentile(some, PERCENTILES, axis=0)
    found = []
    for channel, (low, high) in enumerate(zip(lows, highs, strict=True)):
        if not low < high:
            raise ValueError(
                f'nearly all pixels of channel {channel + 1} have the value '
                f'{low:g} in all images, so it has no range: leave the '
                'channel out, or repair the images'
            )
        # Five digits of the width are exact enough, and can be read.
        digits = 4 - int(np.floor(np.log10(high - low)))
        found.append((round(float(low), digits), round(float(high), digits)))
    return tuple(found)
