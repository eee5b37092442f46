# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Data sets that survive a few unreadable files."""

import logging
from typing import Any

import numpy as np
import torch
from mmengine.logging import print_log

from .sample_seed import SampleIndex, identity_rng
from .transforms.load_image import UnreadableImageError

_MAX_IN_A_ROW = 20
_HANDFUL = 3
_MAX_LISTED = 10


class SkipUnreadableMixin:
    """Replace samples whose file cannot be read; for any ``BaseDataset``.

    The replacement follows from (run seed, epoch, index, attempt), so it does
    not depend on workers or restarts. Each such file is named once in the
    log, whichever worker met it, and counted. In ``test_mode`` nothing is
    replaced: the error is raised.

    Put it before the data set's class:
    ``class Mine(SkipUnreadableMixin, BaseDataset)``, and load images with
    ``mmcae.LoadImage``.

    Args:
        *args: For the data set.
        max_unreadable: The share of files that may be unreadable before the
            run stops. Up to three files are tolerated whatever the share,
            unless it is 0: then the first one stops the run.
        **kwargs: For the data set.

    Raises:
        ValueError: If ``max_unreadable`` is not between 0 and 1.
    """

    def __init__(
        self, *args: Any, max_unreadable: float = 0.01, **kwargs: Any
    ) -> None:
        if not 0 <= max_unreadable <= 1:
            raise ValueError(
                f'max_unreadable is a share from 0 to 1, got {max_unreadable}'
            )
        self.max_unreadable = max_unreadable
        self._reasons: dict[str, str] = {}
        self._flags = torch.zeros(0, dtype=torch.uint8)
        super().__init__(*args, **kwargs)

    def full_init(self) -> None:
        """Load the list of files and prepare to count the unreadable ones."""
        if getattr(self, '_fully_initialized', False):
            return
        super().full_init()  # type: ignore[misc]
        self._reset_flags()

    def _reset_flags(self) -> None:
        # one byte per file, in memory that all workers share
        flags = torch.zeros(len(self), dtype=torch.uint8)  # type: ignore
        self._flags = flags.share_memory_()

    def get_subset(self, indices: Any) -> Any:
        """Copy a part of the data set (counting starts anew)."""
        subset = super().get_subset(indices)  # type: ignore[misc]
        subset._reset_flags()
        return subset

    def get_subset_(self, indices: Any) -> None:
        """Keep a part of the data set (counting starts anew)."""
        super().get_subset_(indices)  # type: ignore[misc]
        self._reset_flags()

    @property
    def unreadable_flags(self) -> torch.Tensor:
        """1 for each file found unreadable so far, uint8 ``(len(self),)``."""
        return self._flags

    @property
    def num_unreadable(self) -> int:
        """How many files were found unreadable so far, by any worker."""
        return int(torch.count_nonzero(self._flags))

    @property
    def allowed_unreadable(self) -> int:
        """How many unreadable files are tolerated."""
        if self.max_unreadable == 0:
            return 0
        share = int(self.max_unreadable * len(self._flags))
        return max(_HANDFUL, share)

    def unreadable_files(self, limit: int | None = None) -> list[str]:
        """Name the unreadable files found so far.

        Args:
            limit: How many at most.

        Returns:
            Their paths in the order of the data set, with the reason where
            this process knows it.
        """
        found = torch.nonzero(self._flags).flatten()[:limit].tolist()
        names = []
        for index in found:
            path = self.get_data_info(index)['img_path']  # type: ignore
            reason = self._reasons.get(path)
            names.append(f'{path} ({reason})' if reason else path)
        return names

    def prepare_data(self, idx: int) -> Any:
        """Run the pipeline, replacing what cannot be read.

        Args:
            idx: The sample's index.

        Returns:
            What the pipeline returns.

        Raises:
            RuntimeError: If too many files are unreadable.
            UnreadableImageError: In ``test_mode``.
        """
        index = idx
        for attempt in range(_MAX_IN_A_ROW):
            try:
                return super().prepare_data(index)  # type: ignore[misc]
            except UnreadableImageError as error:
                if self.test_mode:  # type: ignore[attr-defined]
                    raise
                self._record(int(index), error)
                index = self._replacement(idx, attempt)
        raise RuntimeError(self._explain(f'{_MAX_IN_A_ROW} in a row'))

    def _replacement(self, idx: int, attempt: int) -> int:
        total = len(self)  # type: ignore[arg-type]
        if not isinstance(idx, SampleIndex):
            return int(np.random.randint(total))
        rng = identity_rng(idx.view, f'replacement#{attempt}')
        return idx.at(int(rng.random() * total), stands_in=True)

    def _record(self, index: int, error: UnreadableImageError) -> None:
        if not self._flags[index]:
            self._flags[index] = 1
            self._reasons[error.path] = error.reason
            print_log(
                f'Skipping an unreadable file: {error.path}: {error.reason}',
                logger='current',
                level=logging.WARNING,
            )
        if self.num_unreadable > self.allowed_unreadable:
            raise RuntimeError(
                self._explain(f'more than {self.allowed_unreadable}')
            )

    def _explain(self, what: str) -> str:
        names = self.unreadable_files(_MAX_LISTED)
        more = self.num_unreadable - len(names)
        return '\n  '.join(
            [
                f'too many unreadable files: {what} of {len(self._flags)} '
                f'(max_unreadable={self.max_unreadable:g}). Repair or remove '
                'them, or raise max_unreadable:',
                *names,
                *([f'... and {more} more'] if more else []),
            ]
        )
