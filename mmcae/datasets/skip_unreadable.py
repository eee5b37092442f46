# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Skip unreadable image files, and stop the run if there are many."""

import logging
from typing import Any

import numpy as np
import torch
from mmengine.logging import print_log

from mmcae.checkpoint.printable import printable

from .sample_seed import SampleIndex, identity_rng
from .transforms.load_image import MAX_SHOWN, UnreadableImageError

_MAX_IN_A_ROW = 20
_ALWAYS_ALLOWED = 3
_MAX_LISTED = 10


class SkipUnreadableMixin:
    """Replace samples whose files cannot be read.

    The replacement depends only on (run seed, epoch, index, attempt), not on
    workers or restarts. The log names each unreadable file once, no matter
    which worker found it, and the files are counted. In ``test_mode`` nothing
    is replaced: the error is raised.

    It works with any subclass of ``BaseDataset``. Put it before that class
    (``class Mine(SkipUnreadableMixin, BaseDataset)``), and load images with
    ``mmcae.LoadImage``.

    Args:
        *args: Passed to the dataset.
        max_unreadable: The fraction of files that may be unreadable before
            the run stops. Up to three files are always tolerated, unless the
            fraction is 0: then the first unreadable file stops the run.
        **kwargs: Passed to the dataset.

    Raises:
        ValueError: If ``max_unreadable`` is not between 0 and 1.
    """

    def __init__(
        self, *args: Any, max_unreadable: float = 0.01, **kwargs: Any
    ) -> None:
        if not 0 <= max_unreadable <= 1:
            raise ValueError(
                'max_unreadable is a fraction from 0 to 1, got '
                f'{max_unreadable}'
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
        # One byte per file, in memory that all workers share.
        flags = torch.zeros(len(self), dtype=torch.uint8)  # type: ignore
        self._flags = flags.share_memory_()

    def get_subset(self, indices: Any) -> Any:
        """Copy a part of the dataset; its count starts at 0."""
        subset = super().get_subset(indices)  # type: ignore[misc]
        subset._reset_flags()
        return subset

    def get_subset_(self, indices: Any) -> None:
        """Keep only a part of the dataset; the count starts at 0."""
        super().get_subset_(indices)  # type: ignore[misc]
        self._reset_flags()

    @property
    def unreadable_flags(self) -> torch.Tensor:
        """1 for each file found unreadable so far; uint8 ``(len(self),)``."""
        return self._flags

    @property
    def num_unreadable(self) -> int:
        """How many unreadable files all workers have found so far."""
        return int(torch.count_nonzero(self._flags))

    @property
    def allowed_unreadable(self) -> int:
        """How many unreadable files are tolerated."""
        if self.max_unreadable == 0:
            return 0
        share = int(self.max_unreadable * len(self._flags))
        return max(_ALWAYS_ALLOWED, share)

    def unreadable_files(self, limit: int | None = None) -> list[str]:
        """List the unreadable files found so far.

        Args:
            limit: The largest number of files to list.

        Returns:
            Their paths in the order of the dataset, each with the reason if
            this process knows it. Control characters are escaped.
        """
        found = torch.nonzero(self._flags).flatten()[:limit].tolist()
        names = []
        for index in found:
            path = self.get_data_info(index)['img_path']  # type: ignore
            reason = self._reasons.get(path)
            name = f'{path} ({reason})' if reason else path
            names.append(printable(name, MAX_SHOWN))
        return names

    def prepare_data(self, idx: int) -> Any:
        """Run the pipeline, and replace a sample that cannot be read.

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
                'Skipping an unreadable file: '
                f'{printable(error.path, MAX_SHOWN)}: '
                f'{error.reason_shown}',
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
