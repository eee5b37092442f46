# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Keep the decoded images of a small dataset in memory."""

import math

import numpy as np


class ImageCache:
    """Decoded images in one block of memory.

    A forked worker reads the block of its parent without copying it. Copies
    of the dataset share the block, too.

    Args:
        max_bytes: The largest allowed size.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._entries: dict[str, tuple[int, tuple[int, ...], np.dtype]] = {}
        self._chunks: list[np.ndarray] = []
        self._num_bytes = 0
        self._block = np.empty(0, dtype=np.uint8)

    def __deepcopy__(self, memo: dict) -> 'ImageCache':
        return self

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, path: str, img: np.ndarray) -> None:
        """Add an image; call :meth:`finish` after the last one.

        Args:
            path: The path of the image.
            img: The image, of any type.

        Raises:
            ValueError: If the cache has become larger than allowed.
        """
        if path in self._entries:
            return
        self._entries[path] = (self._num_bytes, img.shape, img.dtype)
        self._chunks.append(img.reshape(-1).view(np.uint8))
        self._num_bytes += img.nbytes
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
        """Return an image.

        Args:
            path: The path of the image.

        Returns:
            A writable copy, or None if the image is not in the cache.
        """
        entry = self._entries.get(path)
        if entry is None:
            return None
        start, shape, dtype = entry
        size = math.prod(shape) * dtype.itemsize
        # The copy begins where numbers of any size may begin.
        found = self._block[start : start + size].copy()
        return found.view(dtype).reshape(shape)
