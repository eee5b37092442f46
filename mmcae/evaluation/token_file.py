# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Tokens of many images, on the disk for as long as a probe reads them."""

import shutil
from pathlib import Path

import numpy as np
from torch import Tensor

#: Share of the free disk that the tokens may take.
DISK_SHARE = 0.5


class TokenFile:
    """The tokens of all images, in float16 on the disk.

    The attentive probe reads them again and again. In memory, 10,000 images
    of a base-size encoder would take 3 GB.

    Args:
        path: The file; its folder is removed by the caller.

    Attributes:
        note: Why there are no tokens; empty if there are.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.note = ''
        self._shape: tuple[int, ...] = ()
        self._count = 0

    def expect(self, images: int, tokens: Tensor) -> None:
        """Leave the tokens out if they would fill the disk.

        Args:
            images: How many images there are going to be.
            tokens: Those of the first batch, ``(B, 1 + L, D)``.
        """
        needed = 2 * images * tokens[0].numel()
        free = shutil.disk_usage(self.path.parent).free
        if needed > DISK_SHARE * free:
            self.note = (
                f'its tokens need {needed / 1e9:.1f} GB of disk in '
                f'{self.path.parent.parent}, and {free / 1e9:.1f} GB are free'
            )

    def append(self, tokens: Tensor) -> None:
        """Write a batch, ``(B, 1 + L, D)``."""
        if self.note:
            return
        self._shape = tuple(tokens.shape[1:])
        self._count += len(tokens)
        with open(self.path, 'ab') as file:
            file.write(tokens.half().cpu().numpy().tobytes())

    def array(self) -> np.memmap | None:
        """The tokens ``(N, 1 + L, D)``, read when used; None without."""
        if self.note or not self._count:
            return None
        shape = (self._count, *self._shape)
        return np.memmap(self.path, np.float16, 'r', shape=shape)
