# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Decoded images of a small data set, in memory."""

import math

import numpy as np


class ImageCache:
    """Decoded images in one block of memory.

    A forked worker reads the parent's block without copying it; a copy of
    the data set shares it too.

    Args:
        max_bytes: Size at which to give up.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._places: dict[str, tuple[int, tuple[int, ...]]] = {}
        self._chunks: list[np.ndarray] = []
        self._num_bytes = 0
        self._block = np.empty(0, dtype=np.uint8)

    def __deepcopy__(self, memo: dict) -> 'ImageCache':
        return self

    def __len__(self) -> int:
        return len(self._places)

    def add(self, path: str, img: np.ndarray) -> None:
        """Keep an image; call :meth:`finish` after the last one.

        Args:
            path: Its name.
            img: The image, uint8.

        Raises:
            ValueError: If the cache has become larger than allowed.
        """
        if path in self._places:
            return
        self._places[path] = (self._num_bytes, img.shape)
        self._chunks.append(img.reshape(-1))
        self._num_bytes += img.size
        if self._num_bytes > self.max_bytes:
            raise ValueError(
                f'the decoded images need more than {self.max_bytes:,} bytes '
                f'({len(self)} images so far): set cache=False or raise '
                'max_cache_bytes'
            )

    def finish(self) -> None:
        """Move the images into one block."""
        self._block = np.concatenate([self._block, *self._chunks])
        self._chunks = []

    def get(self, path: str) -> np.ndarray | None:
        """Look an image up.

        Args:
            path: Its name.

        Returns:
            A copy that may be written to, or None if it is not there.
        """
        place = self._places.get(path)
        if place is None:
            return None
        start, shape = place
        size = math.prod(shape)
        return self._block[start : start + size].reshape(shape).copy()
