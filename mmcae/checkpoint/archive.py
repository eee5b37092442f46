# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The zip archive of ``torch.save``: its structure is checked before use."""

import os
import struct
import sys
import zipfile
import zlib
from typing import BinaryIO, NamedTuple

import torch

from mmcae.checkpoint.limits import MAX_DIRECTORY, MAX_ENTRIES
from mmcae.checkpoint.printable import printable

ZIP_MAGIC = b'PK\x03\x04'
_ENCRYPTED, _DESCRIPTOR = 0x1, 0x8
_LOCAL = struct.Struct('<4s5H3L2H')
_END = struct.Struct('<4s4H2LH')
_LOCATOR = struct.Struct('<4sLQL')
_END_64 = struct.Struct('<4sQ2H2L4Q')
# Bytes of one read. They are still in the processor's cache when their
# checksum is computed.
_CHUNK_BYTES = 1 << 20


class Record(NamedTuple):
    """An entry of the archive.

    Attributes:
        name: Its name, with the folder.
        head: Where its local header begins in the file.
        start: Where its bytes begin in the file.
        size: The number of its bytes.
        crc: Their CRC-32; 0 if torch was told to leave it out.
    """

    name: str
    head: int
    start: int
    size: int
    crc: int


class Archive:
    """The entries of a checkpoint, by name within the archive's one folder.

    Everything that the directory says is compared with the file: entries
    must lie inside the file, must not overlap, and must not be compressed.
    So their sizes together are not more than the size of the file.

    Args:
        file: The file, open for reading.

    Attributes:
        records: Entries by name, without the folder.

    Raises:
        ValueError: If the archive is not one that ``torch.save`` writes.
    """

    def __init__(self, file: BinaryIO):
        self._file = file
        self.size = file.seek(0, os.SEEK_END)
        end_size, count = self._check_end()
        directory_end = self.size - end_size
        with zipfile.ZipFile(file) as archive:
            infos = archive.infolist()
            start = archive.start_dir
        if len(infos) != count:
            raise ValueError(f'{len(infos)} entries instead of {count}')
        records = [self._locate(info) for info in infos]
        self._check_no_overlap(records, min(start, directory_end))
        self.records = self._by_name(records)
        if 'byteorder' in self.records:
            order = bytes(self.read('byteorder').numpy())
            if order != sys.byteorder.encode():
                raise ValueError(
                    f'its byte order is {printable(order)}, and that of this '
                    f'machine is {sys.byteorder}'
                )

    def _check_end(self) -> tuple[int, int]:
        """Check the end records; return their size and the entry count."""
        end = self._unpack(_END, self.size - _END.size, 'end record')
        entries, length, offset, comment = end[4], end[5], end[6], end[7]
        if end[0] != b'PK\x05\x06' or comment:
            raise ValueError('the archive has no valid end record')
        tail = _END.size
        if 0xFFFFFFFF in (length, offset) or entries == 0xFFFF:
            tail += _LOCATOR.size
            locator = self._unpack(_LOCATOR, self.size - tail, 'end record')
            tail += _END_64.size
            end_64 = self._unpack(_END_64, self.size - tail, 'end record')
            if locator[0] != b'PK\x06\x07' or end_64[0] != b'PK\x06\x06':
                raise ValueError('the archive has no valid end record')
            entries, length = end_64[7], end_64[8]
        if entries > MAX_ENTRIES or length > min(MAX_DIRECTORY, self.size):
            raise ValueError(
                f'{entries} entries in a directory of {length} bytes'
            )
        return tail, entries

    def _unpack(self, form: struct.Struct, start: int, what: str) -> tuple:
        if start < 0:
            raise ValueError(f'the archive has no {what}')
        self._file.seek(start)
        data = self._file.read(form.size)
        if len(data) < form.size:
            raise ValueError(f'the archive has no {what}')
        return form.unpack(data)

    def _locate(self, info: zipfile.ZipInfo) -> Record:
        """Find the bytes of an entry by its local header.

        Raises:
            ValueError: If the local header and the directory differ.
        """
        name = printable(info.orig_filename)
        if info.compress_type != zipfile.ZIP_STORED:
            raise ValueError(f'{name} is compressed, which torch never does')
        if info.compress_size != info.file_size:
            raise ValueError(f'{name} has two different sizes')
        if info.flag_bits & _ENCRYPTED:
            raise ValueError(f'{name} is encrypted')
        head = self._unpack(_LOCAL, info.header_offset, f'entry {name}')
        length, extra = head[9], head[10]
        encoded = self._file.read(length)
        wanted = info.orig_filename.encode(
            'utf-8' if info.flag_bits & 0x800 else 'cp437'
        )
        if head[0] != ZIP_MAGIC or encoded != wanted:
            raise ValueError(f'{name} is not where the directory says')
        sizes = {info.file_size, 0xFFFFFFFF}
        if head[2] & _DESCRIPTOR:  # the sizes are stored behind the bytes
            sizes.add(0)
        if head[2] & _ENCRYPTED or head[3] != zipfile.ZIP_STORED:
            raise ValueError(f'{name} is compressed or encrypted')
        if not {head[7], head[8]} <= sizes:
            raise ValueError(f'{name} has two different sizes')
        start = info.header_offset + _LOCAL.size + length + extra
        return Record(
            info.orig_filename,
            info.header_offset,
            start,
            info.file_size,
            info.CRC,
        )

    @staticmethod
    def _check_no_overlap(records: list[Record], end: int) -> None:
        position = 0
        for record in sorted(records, key=lambda r: (r.start, r.size)):
            if record.head < position or record.start + record.size > end:
                raise ValueError(
                    f'{printable(record.name)} overlaps with another part of '
                    'the archive'
                )
            position = record.start + record.size

    @staticmethod
    def _by_name(records: list[Record]) -> dict[str, Record]:
        folders = {record.name.partition('/')[0] for record in records}
        found: dict[str, Record] = {}
        for record in records:
            parts = record.name.split('/')
            # The entry of a folder ends with a slash: its last part is empty.
            if len(folders) != 1 or len(parts) < 2 or '\\' in record.name:
                raise ValueError('the archive must have exactly one folder')
            if {'', '.', '..'} & set(parts[:-1]) or parts[-1] in ('.', '..'):
                raise ValueError(
                    f'the name {printable(record.name)} leaves its folder'
                )
            name = '/'.join(parts[1:])
            if name in found:
                raise ValueError(f'{printable(name)} is in the archive twice')
            found[name] = record
        return found

    def read(self, name: str) -> torch.Tensor:
        """Read an entry.

        Args:
            name: Its name, without the archive's folder.

        Returns:
            uint8 ``(size,)``; shares memory with nothing else.

        Raises:
            ValueError: If it is missing, or differs from its checksum.
        """
        if name not in self.records:
            raise ValueError(f'{printable(name)} is missing')
        record = self.records[name]
        data = torch.empty(record.size, dtype=torch.uint8)
        view, crc = data.numpy().data, 0
        self._file.seek(record.start)
        for start in range(0, record.size, _CHUNK_BYTES):
            part = view[start : start + _CHUNK_BYTES]
            if self._file.readinto(part) != len(part):  # type: ignore
                raise ValueError(f'{printable(name)} ends early')
            crc = zlib.crc32(part, crc)
        # It is 0 after `torch.serialization.set_crc32_options(False)`.
        if record.crc not in (0, crc):
            raise ValueError(f'{printable(name)} differs from its checksum')
        return data
