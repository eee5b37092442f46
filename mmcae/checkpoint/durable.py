# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Write checkpoints so that a killed run or a power cut loses none.

A checkpoint gets its name when it is complete and on disk. Beside it lies
``NAME.sha256`` with its SHA-256, in the format of the program ``sha256sum``.
"""

import errno
import hashlib
import os
import shutil
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

from mmcae.checkpoint.download import atomic_write

#: The name of the storage backend, for ``backend_args=dict(backend=...)``.
BACKEND = 'mmcae_durable'
DIGEST_SUFFIX = '.sha256'
#: What a full disk, or a limit on the space, raises.
FULL_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
#: The same, and what a disk raises that cannot be written any more.
DISK_ERRORS = (*FULL_DISK_ERRORS, errno.EIO, errno.EROFS)


def digest_file(path: str | os.PathLike) -> Path:
    """Return the file that holds a checkpoint's SHA-256."""
    path = Path(path)
    return path.with_name(path.name + DIGEST_SUFFIX)


def write_durably(content: bytes, path: str | os.PathLike) -> None:
    """Write a small file, such as a pointer, that survives a power cut.

    Args:
        content: The bytes.
        path: The file. A reader sees the former content or the new one.
    """
    with atomic_write(path) as file:
        file.write(content)
    sync_folder(Path(path).parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    if os.name != 'posix':
        return  # Windows cannot open a folder
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def recorded_digests(path: str | os.PathLike) -> list[str]:
    """Read the SHA-256 values that are recorded for a file.

    There are two values only while a file is being replaced: that of the
    former content and that of the new one.

    Args:
        path: The checkpoint.

    Returns:
        Values of 64 hexadecimal digits. The list is empty if there is no
        record, or if it is not one.
    """
    name = os.path.basename(path)
    try:
        lines = digest_file(path).read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    pairs = (line.partition('  ') for line in lines)
    return [digest for digest, _, of in pairs if of == name]


class DurableBackend(LocalBackend):
    """mmengine's local storage whose files are complete and on disk.

    `put` writes under a temporary name in the same folder, syncs, records
    the SHA-256, renames, and syncs the folder. Whenever the process is
    killed, the name has the former content or the new one, and the record
    fits it.
    """

    def put(self, obj: bytes, filepath: str | os.PathLike) -> None:
        """Write a file and its record.

        Args:
            obj: The content.
            filepath: The file; its folder is made if needed.

        Raises:
            OSError: If it cannot be written. The former file, if there was
                one, is still there and fits its record.
        """
        path = Path(filepath)
        try:
            self._put(obj, path)
        except OSError as error:
            free = shutil.disk_usage(path.parent).free
            raise OSError(
                error.errno,
                f'{error.strerror} ({path} needs {len(obj):,} bytes, '
                f'{free:,} bytes are free)',
            ) from error

    def _put(self, obj: bytes, path: Path) -> None:
        digest = hashlib.sha256(obj).hexdigest()
        former = [*recorded_digests(path)] if path.is_file() else []
        with atomic_write(path) as file:
            file.write(obj)
            file.flush()
            os.fsync(file.fileno())
            # Both records are valid until the name has the new content.
            self._record(path, [digest, *former])
        sync_folder(path.parent)
        if former:
            self._record(path, [digest])

    def remove(self, filepath: str | os.PathLike) -> None:
        """Remove a file, then its record."""
        super().remove(filepath)
        digest_file(filepath).unlink(missing_ok=True)

    @staticmethod
    def _record(path: Path, digests: list[str]) -> None:
        lines = ''.join(f'{digest}  {path.name}\n' for digest in digests)
        write_durably(lines.encode(), digest_file(path))


register_backend(BACKEND, DurableBackend, force=True)
