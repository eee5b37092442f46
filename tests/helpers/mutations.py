# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Random changes of files, as by a damaged disk or an attacker.

The changes follow from a seed.
"""

import io
import random
import struct
import zipfile

from .corpus.zip_writer import Record, archive

_SIZES = (
    0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000,
    0xFFFFFFFF, 1 << 40, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 1,
)  # fmt: skip
# Every opcode of the pickle protocols 0 to 5.
_OPCODES = (
    b'().012BCDFGIJKLMNPQRSTUVX]abcdeghijlopqrstu}'
    b'\x80\x81\x82\x83\x84\x85\x86\x87\x88\x89\x8a\x8b\x8c\x8d\x8e\x8f'
    b'\x90\x91\x92\x93\x94\x95\x96\x97\x98'
)


def mutant(content: bytes, chance: random.Random) -> bytes:
    """Change some random bytes of a file.

    Args:
        content: The bytes of the file.
        chance: Decides where and how.

    Returns:
        The changed bytes.
    """
    data = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 4, 16))):
        chance.choice(_CHANGES)(data, chance)
    return bytes(data)


def _flip(data: bytearray, chance: random.Random) -> None:
    if data:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _replace(data: bytearray, chance: random.Random) -> None:
    if data:
        data[chance.randrange(len(data))] = chance.randrange(256)


def _cut(data: bytearray, chance: random.Random) -> None:
    del data[chance.randrange(len(data) + 1) :]


def _remove(data: bytearray, chance: random.Random) -> None:
    start = chance.randrange(len(data) + 1)
    del data[start : start + chance.choice((1, 2, 4, 8, 64, 512))]


def _copy(data: bytearray, chance: random.Random) -> None:
    start, end = (chance.randrange(len(data) + 1) for _ in range(2))
    size = chance.choice((1, 2, 4, 8, 64, 512))
    data[end:end] = data[start : start + size]


def _overwrite(data: bytearray, chance: random.Random) -> None:
    start, end = (chance.randrange(len(data) + 1) for _ in range(2))
    part = data[start : start + chance.choice((1, 2, 4, 8, 64))]
    data[end : end + len(part)] = part


def _size(data: bytearray, chance: random.Random) -> None:
    """Write a number that is extreme as a length, a count or an offset."""
    width, form = chance.choice(((1, 'B'), (2, 'H'), (4, 'I'), (8, 'Q')))
    start = chance.randrange(len(data) + 1)
    number = chance.choice(_SIZES) & ((1 << 8 * width) - 1)
    data[start : start + width] = struct.pack(f'<{form}', number)


def _nudge(data: bytearray, chance: random.Random) -> None:
    """Add a small number to an integer of four bytes."""
    if len(data) >= 4:
        start = chance.randrange(len(data) - 3)
        (number,) = struct.unpack_from('<I', data, start)
        number += chance.choice((-8, -4, -1, 1, 4, 8, 256))
        struct.pack_into('<I', data, start, number & 0xFFFFFFFF)


def _opcode(data: bytearray, chance: random.Random) -> None:
    if data:
        data[chance.randrange(len(data))] = chance.choice(_OPCODES)


_CHANGES = (
    _flip, _replace, _cut, _remove, _copy, _overwrite, _size, _nudge, _opcode,
)  # fmt: skip


def pickle_mutant(content: bytes, chance: random.Random) -> bytes:
    """Change the pickle in a file of torch, and correct its checksum."""
    return _archive_mutant(content, chance, '/data.pkl')


def record_mutant(content: bytes, chance: random.Random) -> bytes:
    """Change an entry of a zip file, and correct its checksum."""
    return _archive_mutant(content, chance, None)


def _archive_mutant(
    content: bytes, chance: random.Random, ending: str | None
) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        records = [
            Record(info.filename, file.read(info)) for info in file.infolist()
        ]
    if ending is None:
        ending = str(chance.choice(records).name)
    for record in records:
        if str(record.name).endswith(ending) or chance.random() < 0.05:
            record.data = mutant(record.data, chance)
    return archive(*records)
