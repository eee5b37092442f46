# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Which checkpoints a work dir has, and which of them a run can resume."""

import os
import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from mmcae.checkpoint.download import sha256_of
from mmcae.checkpoint.durable import digest_file, recorded_digests
from mmcae.checkpoint.errors import (
    CheckpointError,
    UnreadableCheckpointError,
    UnsafeCheckpointError,
)
from mmcae.checkpoint.reading import read_checkpoint

#: The file in which mmengine notes the newest checkpoint. Here it holds a
#: name relative to the work dir, so a moved work dir can be resumed.
POINTER = 'last_checkpoint'
#: Locked by the run that uses the work dir; holds its process number.
LOCK = '.lock'

# epoch_3.pth, iter_500.pth, and epoch_3_iter_12.pth: 12 iterations after the
# end of epoch 3
_NAME = re.compile(r'(epoch|iter)_(\d{1,15})(?:_iter_(\d{1,15}))?\.pth')


_INTERIM = re.compile(r'epoch_\d+_iter_\d+\.pth')


class Found(NamedTuple):
    """The result of a search.

    Attributes:
        path: The newest good checkpoint, or None.
        refused: Newer ones that are damaged, with the reason.
    """

    path: Path | None
    refused: list[tuple[Path, str]]


def checkpoints_in(folder: str | Path) -> list[Path]:
    """List the checkpoints that a run can resume, newest first.

    The order is that of the numbers in the names, not of file times, which
    copying changes. If a folder has both ``epoch_*`` and ``iter_*``, those
    with the newest file come first.

    Args:
        folder: The work dir; it need not exist.
    """
    kinds: dict[str, list[tuple[tuple[int, int], Path]]] = {}
    try:
        entries = list(os.scandir(os.fspath(folder)))
    except OSError:
        return []
    for entry in entries:
        match = _NAME.fullmatch(entry.name)
        if match and entry.is_file():
            order = (int(match[2]), int(match[3] or 0))
            kinds.setdefault(match[1], []).append((order, Path(entry.path)))
    runs = [
        [path for _, path in sorted(found, reverse=True)]
        for found in kinds.values()
    ]
    runs.sort(key=lambda run: os.path.getmtime(run[0]), reverse=True)
    return [path for run in runs for path in run]


def fault_of(path: str | os.PathLike) -> str | None:
    """Say why a checkpoint cannot be resumed.

    A file with a recorded SHA-256 is compared with it. Another one is read:
    its structure must fit its bytes.

    Args:
        path: A local file.

    Returns:
        The reason, or None for a good file.
    """
    path = Path(path)
    try:
        status = path.stat()
        return _fault_of(path, status.st_size, status.st_mtime_ns)
    except OSError as error:
        return error.strerror or str(error)


# A run looks at its file again when it loads it.
@lru_cache(maxsize=16)
def _fault_of(path: Path, size: int, mtime: int) -> str | None:
    if size == 0:
        return 'it is empty'
    recorded = recorded_digests(path)
    if recorded:
        if sha256_of(path) in recorded:
            return None
        return f'its SHA-256 is not the one in {digest_file(path).name}'
    try:
        checkpoint = read_checkpoint(path)
    except (UnreadableCheckpointError, UnsafeCheckpointError) as error:
        return str(error)
    if not isinstance(checkpoint, dict) or 'state_dict' not in checkpoint:
        return 'it has no state_dict'
    if 'optimizer' not in checkpoint:
        return 'it has no optimizer'
    return None


def newest_good(folder: str | Path) -> Found:
    """Find the checkpoint that an automatic resume takes.

    Args:
        folder: The work dir.

    Returns:
        The newest file that is not damaged, and the newer damaged ones.
    """
    refused: list[tuple[Path, str]] = []
    for path in checkpoints_in(folder):
        fault = fault_of(path)
        if fault is None:
            return Found(path, refused)
        refused.append((path, fault))
    return Found(None, refused)


def choose_checkpoint(
    folder: str | Path, warn: Callable[[str], None]
) -> Path | None:
    """Choose the checkpoint that an automatic resume takes.

    Args:
        folder: The work dir.
        warn: Gets one sentence for each damaged checkpoint.

    Returns:
        The newest good one, or None if the folder has no checkpoint at all.

    Raises:
        CheckpointError: If all are damaged. Starting from the beginning
            would overwrite them.
    """
    path, refused = newest_good(folder)
    if path is None and refused:
        faults = '; '.join(f'{one.name}: {fault}' for one, fault in refused)
        raise CheckpointError(
            f'no checkpoint in {folder} can be resumed ({faults}). Remove '
            'them to start from the beginning'
        )
    for one, fault in refused:
        warn(f'{one} is damaged ({fault}); resuming from {path} instead.')
    return path


def interim_checkpoints_in(folder: str | Path) -> list[Path]:
    """List the checkpoints that were saved inside an epoch."""
    found = checkpoints_in(folder)
    return [path for path in found if _INTERIM.fullmatch(path.name)]
