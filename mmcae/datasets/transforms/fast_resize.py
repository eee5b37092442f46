# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""PIL's antialiased resize, faster: by PyTorch's kernels.

PIL resamples the rows, rounds to 8 bits, then the columns; so do these.
(From version 13 on PIL itself takes the columns first where that is cheaper.
About 0.15 grey levels lie between the two orders.)
"""

import math
import threading
from functools import lru_cache

import cv2
import numpy as np
import torch
import torch.nn.functional as F

# Columns that are resampled at once. PyTorch compiles its weighted sum anew
# for each number of columns, so there had better be one; 384 of 500 values
# stay in the caches, and large photographs need little memory.
_COLUMNS = 384

_LANCZOS_RADIUS = 3


class _Scratch(threading.local):
    """Memory that is not asked for anew with each image."""

    def __init__(self) -> None:
        self.values = torch.zeros(500 * _COLUMNS)

    def get(self, rows: int, columns: int) -> torch.Tensor:
        """Give float32 ``(rows, columns)`` of any values."""
        if self.values.numel() < rows * columns:
            return torch.zeros(rows, columns)
        return self.values[: rows * columns].view(rows, columns)


_scratch = _Scratch()


@lru_cache(maxsize=1024)  # less than 20 MB: 16 kB for a side of 300
def lanczos_weights(
    size: int, new_size: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Tabulate which pixels make a new pixel, along one side.

    Args:
        size: Length of the side.
        new_size: Its length after resizing.

    Returns:
        Their places, int32, and weights, float32; both
        ``(new_size, taps)``. Unneeded taps weigh zero.
    """
    scale = size / new_size
    stretch = max(scale, 1.0)  # antialiased when shrinking
    support = _LANCZOS_RADIUS * stretch
    centre = (np.arange(new_size) + 0.5) * scale
    first = np.maximum((centre - support + 0.5).astype(int), 0)
    end = np.minimum((centre + support + 0.5).astype(int), size)
    places = first[:, None] + np.arange((end - first).max())
    x = (places - centre[:, None] + 0.5) / stretch
    weights = np.sinc(x) * np.sinc(x / _LANCZOS_RADIUS)
    inside = (np.abs(x) < _LANCZOS_RADIUS) & (places < end[:, None])
    weights = np.where(inside, weights, 0.0)
    weights /= weights.sum(1, keepdims=True)
    places = np.minimum(places, size - 1)
    return (
        torch.from_numpy(places.astype(np.int32)),
        torch.from_numpy(weights.astype(np.float32)),
    )


def _resample(img: np.ndarray, new_size: int, columns: int) -> np.ndarray:
    """Resample the first axis of uint8 ``(size, N)``, N <= columns."""
    places, weights = lanczos_weights(len(img), new_size)
    values = _scratch.get(len(img), columns)
    used = img.shape[1]
    values.numpy()[:, :used] = img
    sums = F.embedding_bag(
        places, values, mode='sum', per_sample_weights=weights
    )
    # for arrays as small as these NumPy starts faster
    return np.rint(sums.numpy()[:, :used]).clip(0, 255).astype(np.uint8)


def resize_lanczos(img: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize with the Lanczos filter of radius 3.

    A weighted sum of whole rows runs at the speed of vector instructions, so
    the image is turned on its side for the first pass.

    Args:
        img: uint8 ``(H, W)`` or ``(H, W, 3)``.
        size: ``(height, width)``.

    Returns:
        uint8, ``(height, width)`` or ``(height, width, 3)``.
    """
    height, width = size
    channels = img.shape[2:]
    narrow = np.empty((len(img), width, *channels), np.uint8)
    step = _COLUMNS // math.prod(channels)
    for start in range(0, len(img), step):
        turned = cv2.transpose(img[start : start + step])
        turned = turned.reshape(len(turned), -1)
        turned = _resample(turned, width, _COLUMNS)
        turned = turned.reshape(width, -1, *channels)
        cv2.transpose(turned, dst=narrow[start : start + step])
    narrow = narrow.reshape(len(img), -1)
    return _resample(narrow, height, narrow.shape[1]).reshape(*size, *channels)


def resize_torch(
    img: np.ndarray, size: tuple[int, int], interpolation: str
) -> np.ndarray:
    """Resize with PyTorch's antialiased 8-bit kernels.

    Args:
        img: uint8 ``(H, W)`` or ``(H, W, 3)``, C-contiguous.
        size: ``(height, width)``.
        interpolation: ``'bilinear'`` or ``'bicubic'``.

    Returns:
        uint8, ``(height, width)`` or ``(height, width, 3)``. In memory the
        channels come first, as ``PackInputs`` wants them.
    """
    pixels = torch.from_numpy(img.reshape(*img.shape[:2], -1))
    resized = F.interpolate(
        pixels.permute(2, 0, 1)[None],
        size=size,
        mode=interpolation,
        antialias=True,
    )[0].numpy()
    return resized[0] if img.ndim == 2 else resized.transpose(1, 2, 0)
