# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Images as users have them: a path, a PIL image or an array."""

import os
from typing import Any

import numpy as np
from PIL import Image

from mmcae.datasets.folder_dataset import images_below
from mmcae.datasets.transforms.load_image import LoadImage, to_rgb
from mmcae.datasets.transforms.read_pixels import channels_last
from mmcae.datasets.transforms.value_range import (
    ValueRange,
    fit_channels,
    to_range,
)

#: What the functions of this package take as an image.
ImageLike = str | os.PathLike | Image.Image | np.ndarray


def read_image(
    image: ImageLike, channels: int = 3, value_range: ValueRange = None
) -> np.ndarray:
    """Turn an image of any kind into pixels, by default RGB.

    Args:
        image: A path, a PIL image, or an array ``(H, W)``, ``(H, W, 1)``,
            ``(H, W, 3)`` or ``(H, W, 4)``: uint8, or floats in [0, 1]. The
            channels are RGB, and a fourth one (transparency) is dropped.
            With another number of channels or a range, an array has these
            channels, first or last, in any type that fits the range.
        channels: As of `mmcae.LoadImage`.
        value_range: As of `mmcae.LoadImage`.

    Returns:
        RGB, uint8, ``(H, W, 3)``; or the channels in their order, ``(H, W,
        C)``, uint8 or float32 from 0 to 255.

    Raises:
        FileNotFoundError: If there is no such file.
        UnreadableImageError: If the file is not an image.
        ValueError: If an array has another shape, type or range.
        TypeError: If it is something else.
    """
    if isinstance(image, str | os.PathLike):
        path = os.path.expanduser(os.fspath(image))
        if not os.path.isfile(path):
            what = 'is a folder' if os.path.isdir(path) else 'is not there'
            raise FileNotFoundError(f'the image {path} {what}')
        loader = LoadImage(channels=channels, value_range=value_range)
        pixels = loader.load(path)
        if channels == 3:
            pixels = pixels[..., ::-1]
        return np.ascontiguousarray(pixels)
    loader = LoadImage(channels=channels, value_range=value_range)
    if isinstance(image, Image.Image):
        if loader.is_plain:
            return np.array(to_rgb(image))
        alpha = image.mode in ('LA', 'RGBA')
        pixels = channels_last(np.asarray(image), channels)
        pixels = fit_channels(pixels, channels, alpha)
        return to_range(pixels, loader.value_range)
    if isinstance(image, np.ndarray):
        if loader.is_plain:
            return _from_array(image)
        pixels = fit_channels(channels_last(image, channels), channels)
        return to_range(pixels, loader.value_range)
    raise TypeError(
        'an image must be a path, a PIL image or a NumPy array, got '
        f'{type(image).__name__}'
    )


def find_paths(*places: str | os.PathLike) -> list[str]:
    """List image files, and all images in folders.

    Args:
        *places: Files and folders.

    Returns:
        The files in the order given; those of a folder sorted by name.

    Raises:
        FileNotFoundError: If a place does not exist, or a folder has no
            image.
    """
    paths: list[str] = []
    for name in places:
        place = os.path.expanduser(os.fspath(name))
        if os.path.isdir(place):
            found = images_below(str(place))
            if not found:
                raise FileNotFoundError(f'the folder {place} has no image')
            paths += found
        elif os.path.isfile(place):
            paths.append(str(place))
        else:
            raise FileNotFoundError(
                f'the image or folder {place!s} is not there'
            )
    return paths


def _from_array(array: Any) -> np.ndarray:
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or not array.size:
        raise ValueError(
            f'an image array must be (H, W), (H, W, 3) or (H, W, 4), got '
            f'{array.shape}'
        )
    array = array[..., :3]
    if array.shape[2] == 1:
        array = array.repeat(3, axis=2)
    if np.issubdtype(array.dtype, np.floating):
        low, high = float(array.min()), float(array.max())
        if not (low >= 0 and high <= 1):
            raise ValueError(
                f'float pixels must lie in [0, 1], got {low:g} to {high:g}'
            )
        array = np.rint(array * 255)
    elif array.dtype != np.uint8:
        raise ValueError(
            f'an image array must be uint8 or floats, got {array.dtype}'
        )
    return np.ascontiguousarray(array.astype(np.uint8))
