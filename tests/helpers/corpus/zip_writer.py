# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Zip files written by hand, in which every field can be wrong."""

import struct
import zlib
from dataclasses import dataclass, field
from typing import Any

from .entry import VALUES

_LOCAL = '<4s5H3L2H'
_CENTRAL = '<4s6H3L5H2L'
_END = '<4s4H2LH'
_END_64 = '<4sQ2H2L4Q'
_LOCATOR = '<4sLQL'
STORED, DEFLATED = 0, 8
FLOATS = struct.pack('<4f', *VALUES)


@dataclass
class Record:
    """An entry of the archive, and the wrong fields of its two headers."""

    name: str | bytes
    data: bytes
    local: dict[str, Any] = field(default_factory=dict)
    central: dict[str, Any] = field(default_factory=dict)
    deflate: bool = False
    after: bytes = b''


def wrong(name: str, data: bytes, **fields: Any) -> Record:
    """Make an entry with the same wrong fields in both headers."""
    return Record(name, data, fields, fields)


def archive(
    *records: Record, end: dict[str, Any] | None = None, tail: bytes = b''
) -> bytes:
    """Make an archive.

    Args:
        records: The entries, in the order of the file and of the directory.
        end: Wrong fields of the end record: ``count``, ``size``, ``offset``,
            ``comment`` or ``before`` (bytes before it).
        tail: Bytes behind the archive.

    Returns:
        The bytes of the archive.
    """
    body, directory = bytearray(), bytearray()
    for record in records:
        data, method = record.data, STORED
        if record.deflate:
            packer = zlib.compressobj(9, zlib.DEFLATED, -15)
            data = packer.compress(data) + packer.flush()
            method = DEFLATED
        true = dict(
            name=record.name, flags=0, method=method, extra=b'',
            crc=zlib.crc32(record.data), packed=len(data),
            size=len(record.data), offset=len(body), comment=b'',
        )  # fmt: skip
        body += _local({**true, **record.local}) + data + record.after
        directory += _central({**true, **record.central})
    said = dict(
        count=len(records),
        size=len(directory),
        offset=len(body),
        comment=b'',
        before=b'',
    ) | (end or {})
    if said['count'] > 0xFFFF and end is None:
        said['before'] = end_64(said['count'], said['size'], said['offset'])
        said['count'] = 0xFFFF
    last = struct.pack(
        _END, b'PK\x05\x06', 0, 0, said['count'] & 0xFFFF,
        said['count'] & 0xFFFF, said['size'], said['offset'],
        len(said['comment']),
    )  # fmt: skip
    return (
        bytes(body + directory)
        + said['before']
        + last
        + said['comment']
        + tail
    )


def end_64(
    count: int, size: int, offset: int, place: int | None = None
) -> bytes:
    """Return the end record of zip64 and its locator."""
    place = offset + size if place is None else place
    record = struct.pack(
        _END_64, b'PK\x06\x06', 44, 45, 45, 0, 0, count, count, size, offset
    )
    return record + struct.pack(_LOCATOR, b'PK\x06\x07', 0, place, 1)


def _encoded(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()


def _local(said: dict[str, Any]) -> bytes:
    label = _encoded(said['name'])
    return struct.pack(
        _LOCAL, b'PK\x03\x04', 20, said['flags'], said['method'], 0, 33,
        said['crc'], said['packed'], said['size'], len(label),
        len(said['extra']),
    ) + label + said['extra']  # fmt: skip


def _central(said: dict[str, Any]) -> bytes:
    label = _encoded(said['name'])
    return struct.pack(
        _CENTRAL, b'PK\x01\x02', 20, 20, said['flags'], said['method'], 0, 33,
        said['crc'], said['packed'], said['size'], len(label),
        len(said['extra']), len(said['comment']), 0, 0, 0, said['offset'],
    ) + label + said['extra'] + said['comment']  # fmt: skip


def records(
    pickled: bytes, storages: dict[str, bytes] | None = None
) -> list[Record]:
    """Return the entries that torch writes.

    Args:
        pickled: The pickle of the object.
        storages: The bytes of the storages by key; by default `FLOATS`.
    """
    storages = {'0': FLOATS} if storages is None else storages
    return [
        Record('archive/data.pkl', pickled),
        Record('archive/byteorder', b'little'),
        *(Record(f'archive/data/{k}', v) for k, v in storages.items()),
        Record('archive/version', b'3\n'),
    ]


def zipped(pickled: bytes, storages: dict[str, bytes] | None = None) -> bytes:
    """Make a file around a pickle, as torch writes it."""
    return archive(*records(pickled, storages))
