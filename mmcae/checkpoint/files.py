# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Files on disk: find one, hash one, write one completely or not at all."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_CHUNK_BYTES = 1 << 20


def existing_file(path: str | os.PathLike) -> Path:
    """Expand ``~`` in a path and require that the file exists.

    Args:
        path: A local path.

    Returns:
        The expanded path.

    Raises:
        FileNotFoundError: If there is no such file.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise FileNotFoundError(f'{file} can not be found.')
    return file


def sha256_of(path: str | os.PathLike) -> str:
    """Compute the SHA-256 of a file.

    Args:
        path: The file.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


_TEMPORARY_SUFFIX = '.part'


@contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """Open a file that appears under its name only when it is complete.

    Args:
        path: Final name; its folder is created.

    Yields:
        A temporary file in the same folder. At the end it is synced to disk
        and renamed. If an exception is raised, it is removed.
    """
    final = Path(path).expanduser()
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = final.with_name(
        f'.{final.name}.{os.getpid()}{_TEMPORARY_SUFFIX}'
    )
    try:
        with open(temporary, 'wb') as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, final)
    finally:
        temporary.unlink(missing_ok=True)


def remove_unfinished(folder: str | os.PathLike) -> list[str]:
    """Remove what `atomic_write` left behind in processes that were killed.

    Args:
        folder: A folder in which no other process writes now.

    Returns:
        The names of the removed files.
    """
    left = sorted(Path(folder).glob(f'.*{_TEMPORARY_SUFFIX}'))
    for path in left:
        path.unlink(missing_ok=True)
    return [path.name for path in left]
