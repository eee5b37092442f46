# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Store visual tokens on disk: one record for each view of each image."""

import errno
import json
import os
import shutil
import struct
import zlib
from collections.abc import Iterable
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np

from mmcae.checkpoint.download import atomic_write
from mmcae.checkpoint.errors import printable
from mmcae.config.check import ConfigError

FORMAT = 1
HEADER = 'store.json'
_CHECKSUM = struct.Struct('<I')
_MAX_FILES = 4
_RESERVE = 1 << 30
_MAX_HEADER = 10 << 20  # it has a few thousand bytes


class TokenStore:
    """A folder with a header and one file of records for each epoch.

    With a pool of views there is one file for each slot of the pool. The
    record of a view ``(seed, epoch or slot, index)`` has a fixed position. It
    consists of ``L`` little-endian uint16 numbers and a checksum of the
    tokens, the position and the header. Several processes can therefore read
    and write at the same time without locks. A record is treated as missing
    if it was never written, was only partly written when a process was
    killed, or was written with another header. It never gives wrong tokens.

    Records are read and written through the page cache of the operating
    system, which all processes share. (A memory map would do the same, but
    would kill the process if a disk is full or fails.)

    Use :meth:`open` to read a store. Use :meth:`for_run` to create the store
    of a run, or to continue one.

    Args:
        path: The folder.
        header: What the tokens depend on; see
            :mod:`~mmcae.datasets.token_store.header`.
    """

    def __init__(self, path: str | os.PathLike, header: dict) -> None:
        self.path = Path(path).expanduser()
        self.header = header
        self.seed: int = header['seed']
        self.num_images: int = header['dataset']['images']
        self.length: int = header['grid'][0] * header['grid'][1]
        self.record_bytes = 2 * self.length + _CHECKSUM.size
        text = json.dumps(header, sort_keys=True).encode()
        self._salt = zlib.crc32(text)
        self._files: dict[tuple[int, bool], FileIO] = {}

    @classmethod
    def open(cls, path: str | os.PathLike) -> 'TokenStore':
        """Open a store that exists.

        Args:
            path: The folder.

        Returns:
            The store.

        Raises:
            FileNotFoundError: If there is no store.
            ConfigError: If its header is damaged or has another format.
        """
        file = Path(path).expanduser() / HEADER
        try:
            header = _read_header(file)
            if header['format'] != FORMAT:
                raise ConfigError(
                    f'{file}: format {printable(header["format"])}, but this '
                    f'version of mmcae reads format {FORMAT}: fill another '
                    'store'
                )
            _check_numbers(header)
        except FileNotFoundError:
            raise FileNotFoundError(
                f'{file.parent} is not a token store: it has no {HEADER}'
            ) from None
        except (
            KeyError,
            TypeError,
            IndexError,
            RecursionError,
            UnicodeDecodeError,
            json.JSONDecodeError,
            _WrongNumberError,
            IsADirectoryError,
        ) as e:
            reason = printable(f'{type(e).__name__}: {e}', 200)
            raise ConfigError(
                f'{file} is damaged ({reason}): restore it, or remove the '
                'folder and fill it again'
            ) from e
        for name in file.parent.glob('views_*.bin'):
            if not name.is_file():
                raise ConfigError(
                    f'{printable(str(name))} is not a file of tokens: '
                    'remove it, and its views will be computed again'
                )
        return cls(path, header)

    @classmethod
    def for_run(cls, path: str | os.PathLike, header: dict) -> 'TokenStore':
        """Create the store of a run, or continue an existing one.

        Args:
            path: The folder.
            header: What the tokens of this run depend on.

        Returns:
            The store.

        Raises:
            ConfigError: If the existing store does not match (the message
                lists every difference), or the folder has other files.
        """
        folder = Path(path).expanduser()
        header = json.loads(json.dumps(header))  # as it is after reading
        if not (folder / HEADER).exists():
            if folder.exists() and not folder.is_dir():
                raise ConfigError(f'token_store: {folder} is not a folder')
            names = os.listdir(folder) if folder.exists() else []
            if [n for n in names if not n.startswith('.') and n != HEADER]:
                raise ConfigError(
                    f'token_store: {folder} is not empty, but it is not a '
                    'token store: choose another folder'
                )
            with atomic_write(folder / HEADER) as file:
                file.write(json.dumps(header, indent=2).encode() + b'\n')
        store = cls.open(folder)
        found = differences(store.header, header)
        if found:
            raise ConfigError(
                '\n  '.join(
                    [f'the token store {folder} is not for this run:', *found]
                )
                + '\nChange the config, or choose another folder.'
            )
        return store

    @property
    def file_bytes(self) -> int:
        """Size of the complete file of one epoch (or slot)."""
        return self.num_images * self.record_bytes

    def read(self, view: tuple[int, int, int]) -> np.ndarray | None:
        """Read the tokens of a view.

        Args:
            view: ``(seed, epoch or slot, index)``.

        Returns:
            uint16 ``(L,)``, or None if the store does not have them.
        """
        if view[0] != self.seed or not 0 <= view[2] < self.num_images:
            return None
        file = self._file(view[1], write=False)
        if file is None:
            return None
        size = self.record_bytes
        record = os.pread(file.fileno(), size, view[2] * size)
        if len(record) < size:
            return None
        body = record[: -_CHECKSUM.size]
        if record[-_CHECKSUM.size :] != self._checksum(view, body):
            return None
        return np.frombuffer(body, '<u2').astype(np.uint16)

    def write(self, view: tuple[int, int, int], tokens: np.ndarray) -> None:
        """Store the tokens of a view.

        Args:
            view: ``(seed, epoch or slot, index)``.
            tokens: Integers ``(L,)``.

        Raises:
            ValueError: If the view or the tokens do not fit this store.
            OSError: If the tokens cannot be written, or the disk is nearly
                full.
        """
        if view[0] != self.seed or not 0 <= view[2] < self.num_images:
            raise ValueError(
                f'{view} is not a view of this store: its seed is '
                f'{self.seed}, its indices are 0 to {self.num_images - 1}'
            )
        vocab = self.header['tokenizer']['vocab_size']
        tokens = np.asarray(tokens)
        if tokens.shape != (self.length,) or not (
            0 <= tokens.min() <= tokens.max() < vocab
        ):
            raise ValueError(
                f'tokens of shape {tokens.shape} from {tokens.min()} to '
                f'{tokens.max()}: the store has {self.length} per view, each '
                f'from 0 to {vocab - 1}'
            )
        file = self._file(view[1], write=True)
        assert file is not None
        body = tokens.astype('<u2').tobytes()
        record = body + self._checksum(view, body)
        written = os.pwrite(file.fileno(), record, view[2] * len(record))
        if written < len(record):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), file.name)

    def missing(self, slot: int, indices: Iterable[int]) -> list[int]:
        """Find the images whose tokens are not in the store.

        Args:
            slot: The epoch, or the slot of the pool.
            indices: The indices of the images to check.

        Returns:
            The indices of the images without tokens.
        """
        return [i for i in indices if self.read((self.seed, slot, i)) is None]

    def bytes_to_fill(self, slots: Iterable[int]) -> int:
        """Estimate how many bytes some epochs (or slots) still need on disk.

        Args:
            slots: The epochs, or slots of the pool.
        """
        total = 0
        for slot in slots:
            try:
                used = self._name(slot).stat().st_blocks * 512
            except FileNotFoundError:
                used = 0
            total += max(self.file_bytes - used, 0)
        return total

    def _checksum(self, view: tuple[int, int, int], body: bytes) -> bytes:
        place = struct.pack('<QQ', view[1], view[2])
        value = zlib.crc32(body, zlib.crc32(place, self._salt))
        # Never 0, because a record that was never written is all zeros.
        return _CHECKSUM.pack(value or 1)

    def _name(self, slot: int) -> Path:
        return self.path / f'views_{slot:05d}.bin'

    def _file(self, slot: int, write: bool) -> FileIO | None:
        """Open the file of a slot; return None if it does not exist."""
        if (slot, write) in self._files:
            return self._files[slot, write]
        name = self._name(slot)
        if not name.exists():
            if not write:
                return None
            check_space(self.path, self.file_bytes)
            name.touch()  # keeps what another process has written
        if len(self._files) >= _MAX_FILES:
            self._files.pop(next(iter(self._files))).close()
        file = FileIO(name, 'r+' if write else 'r')
        self._files[slot, write] = file
        return file

    def __getstate__(self) -> dict:
        return {**self.__dict__, '_files': {}}


class _WrongNumberError(ValueError):
    """A part of a header has an impossible value."""


def _read_header(file: Path) -> Any:
    with open(file, 'rb') as opened:
        text = opened.read(_MAX_HEADER + 1)
    if len(text) > _MAX_HEADER:
        raise _WrongNumberError(f'more than {_MAX_HEADER:,} bytes')
    return json.loads(text)


def _check_numbers(header: dict) -> None:
    """Check the parts of a header that give the positions of records."""
    vocab_size, images = (
        header['tokenizer']['vocab_size'],
        header['dataset']['images'],
    )
    grid = header['grid']
    if type(grid) is not list or len(grid) != 2:
        raise _WrongNumberError(f'grid: {printable(grid, 40)}')
    for name, number, bound in (
        ('seed', header['seed'], 1 << 64),
        ('vocab_size', vocab_size, 1 << 17),
        ('images', images, 1 << 31),
        ('rows of the grid', grid[0], 1 << 12),
        ('columns of the grid', grid[1], 1 << 12),
    ):
        if type(number) is not int or not 0 <= number < bound:
            raise _WrongNumberError(f'{name}: {printable(number, 40)}')


def check_space(folder: Path, needed: int) -> None:
    """Check that enough space remains on the disk.

    Args:
        folder: An existing folder on that disk.
        needed: The number of bytes to write.

    Raises:
        OSError: If less than 1 GiB (on a small disk: a twentieth of it)
            would be left.
    """
    disk = shutil.disk_usage(folder)
    reserve = min(_RESERVE, disk.total // 20)
    if needed > disk.free - reserve:
        raise OSError(
            errno.ENOSPC,
            f'{needed:,} bytes of tokens do not fit: {disk.free:,} bytes are '
            f'free, and {reserve:,} of them must stay free',
            str(folder),
        )


def differences(stored: Any, wanted: Any, name: str = '') -> list[str]:
    """List the differences between two headers, one line each.

    Args:
        stored: The header of the store, or a part of it.
        wanted: The same part of the header of the run.
        name: The dotted key of this part.

    Returns:
        Lines such as ``seed: the store has 0, this run has 1``.
    """
    if isinstance(stored, dict) and isinstance(wanted, dict):
        lines = []
        for key in {**stored, **wanted}:
            full = f'{name}.{key}' if name else key
            lines += differences(stored.get(key), wanted.get(key), full)
        return lines
    if stored == wanted:
        return []
    return [f'{name}: the store has {stored!r}, this run has {wanted!r}']
