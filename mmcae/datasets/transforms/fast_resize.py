# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""PIL's antialiased resize, faster: by PyTorch's kernels.

PIL resamples the rows, rounds to 8 bits, then the columns; so do these.
(From version 13 on PIL itself takes the columns first where that is cheaper.
About 0.15 grey levels lie between the two orders.)
"""

import threading
from functools import lru_cache

import cv2
import numpy as np
import torch
import torch.nn.functional as F

# Values that are resampled at once: 1 MiB of float32 stays in the caches,
# and large photographs need no more memory than small ones.
_CHUNK = 1 << 18

_LANCZOS_RADIUS = 3


class _Scratch(threading.local):
    """Memory that is not asked for anew with each image."""

    def __init__(self) -> None:
        self.values = torch.empty(_CHUNK)


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


def _resample(img: np.ndarray, new_size: int) -> np.ndarray:
    """Resample the first axis of uint8 ``(size, ...)``, rounding."""
    size = len(img)
    places, weights = lanczos_weights(size, new_size)
    values = torch.from_numpy(img).view(size, -1)
    if values.numel() <= _CHUNK:
        values = (
            _scratch.values[: values.numel()].view_as(values).copy_(values)
        )
    else:
        values = values.float()
    sums = F.embedding_bag(
        places, values, mode='sum', per_sample_weights=weights
    )
    pixels = sums.add_(0.5).clamp_(0, 255).to(torch.uint8)
    return pixels.numpy().reshape(new_size, *img.shape[1:])


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
    rows = max(_CHUNK // (img[0].size), 1)
    narrow = np.empty((len(img), width, *img.shape[2:]), np.uint8)
    for start in range(0, len(img), rows):
        turned = cv2.transpose(img[start : start + rows])
        cv2.transpose(
            _resample(turned, width), dst=narrow[start : start + rows]
        )
    return _resample(narrow, height)


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
