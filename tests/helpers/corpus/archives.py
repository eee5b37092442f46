# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Zip files whose directory does not fit the file."""

import io
import struct
import tarfile
from collections.abc import Iterator

from .entry import Entry, either, harmless, read, refused, weights
from .opcodes import checkpoint, storage, tensor
from .zip_writer import (
    DEFLATED,
    FLOATS,
    Record,
    archive,
    end_64,
    records,
    wrong,
    zipped,
)

HONEST = checkpoint(tensor())
# Positions in the result of `records`.
PICKLE, ORDER, DATA, VERSION = range(4)


def _changed(position: int, *replacements: Record, **end: object) -> bytes:
    """Make the honest file, with one entry replaced by others."""
    given = records(HONEST)
    given[position : position + 1] = replacements
    return archive(*given, end=end)


def _both(**fields: object) -> bytes:
    """Make the honest file, with wrong fields in both headers of the data."""
    return _changed(DATA, wrong('archive/data/0', FLOATS, **fields))


def _central(**fields: object) -> bytes:
    """Make the honest file, with wrong fields in the directory only."""
    return _changed(DATA, Record('archive/data/0', FLOATS, {}, fields))


def _local(**fields: object) -> bytes:
    """Make the honest file, with wrong fields in the local header only."""
    return _changed(DATA, Record('archive/data/0', FLOATS, fields))


def _named(label: str | bytes) -> bytes:
    return archive(*records(HONEST), Record(label, b'x'))


def _many(count: int) -> bytes:
    more = (Record(f'archive/extra/{n}', b'') for n in range(count))
    return archive(*records(HONEST), *more)


def _overlapping() -> bytes:
    given = records(HONEST, {'0': FLOATS, '1': FLOATS})
    at = archive(*given).index(b'PK\x03\x04', 4)
    at = archive(*given).index(b'PK\x03\x04', at + 4)
    given[3].central = dict(name='archive/data/1', offset=at)
    return archive(*given)


def _nested() -> bytes:
    """Make entries inside an entry, so that bytes count twice."""
    inner = archive(*records(HONEST)).split(b'PK\x01\x02')[0]
    given = records(HONEST, {'0': inner + FLOATS})
    given[DATA].name = 'archive/data/9'
    start = archive(*given).index(inner, 10)
    return archive(
        *given,
        Record('archive/data/0', FLOATS, central=dict(offset=start)),
    )


def _bomb(position: int, size: int) -> bytes:
    pickled = checkpoint(tensor(storage(size // 4), 0, (size // 4,)))
    given = records(pickled, {'0': bytes(size)})
    if position == PICKLE:
        given = records(HONEST[:-1] + b'N0' * (size // 2) + b'.')
    given[position].deflate = True
    return archive(*given)


def _deflated() -> bytes:
    given = records(HONEST)
    for record in given:
        record.deflate = True
    return archive(*given)


def _tar() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode='w') as file:
        for name in ('sys_info', 'pickle', 'storages', 'tensors'):
            info = tarfile.TarInfo(name)
            info.size = len(HONEST)
            file.addfile(info, io.BytesIO(HONEST))
    return stream.getvalue()


def _zip64(**values: int) -> bytes:
    """Make the honest file, with sizes in a zip64 field that may be wrong."""
    fields = {'size': 16, 'packed': 16, 'offset': 0} | values
    keys = [key for key in ('size', 'packed', 'offset') if key in values]
    packed = b''.join(struct.pack('<Q', fields[key]) for key in keys)
    extra = struct.pack('<HH', 1, len(packed)) + packed
    return _central(extra=extra, **dict.fromkeys(keys, 0xFFFFFFFF))


def _zip64_end(offset: int, count: int = 4) -> bytes:
    whole = archive(*records(HONEST))
    start = whole.index(b'PK\x01\x02')
    size = len(whole) - 22 - start
    before = end_64(count, size, offset, len(whole) - 22)
    return archive(
        *records(HONEST),
        end=dict(
            before=before,
            count=0xFFFF,
            offset=0xFFFFFFFF,
            size=0xFFFFFFFF,
        ),
    )


def _descriptor(size: int) -> bytes:
    """Make a file with the sizes behind the data, as torch writes them."""
    given = records(HONEST)
    for record in given:
        said = archive(record)
        crc = struct.unpack_from('<L', said, 14)[0]
        record.local = dict(flags=8, crc=0, packed=0, size=0)
        record.central = dict(flags=8)
        true = len(record.data)
        claimed = size if record is given[DATA] else true
        record.after = b'PK\x07\x08' + struct.pack(
            '<3L', crc, claimed, claimed
        )
    return archive(*given)


def _truncated() -> Iterator[Entry]:
    whole = zipped(HONEST)
    start = whole.index(b'PK\x01\x02')
    for point in (
        2, 4, 29, 30, 46, 60, 150, 300, len(whole) // 2, start - 1, start,
        start + 45, len(whole) - 22, len(whole) - 21, len(whole) - 1,
    ):  # fmt: skip
        yield refused(f'zip/truncated_to_{point}', whole[:point])
    for point in (10, 31, 200, start, start + 20):
        cut = whole[:point] + whole[point + 7 :]
        yield refused(f'zip/seven_bytes_left_out_at_{point}', cut)


def archives() -> Iterator[Entry]:
    """Yield all files of this kind."""
    whole = zipped(HONEST)
    yield read('zip/honest', whole)
    yield from _truncated()
    # --- sizes, offsets and checksums
    yield refused('zip/overlapping_records', _overlapping)
    yield refused('zip/records_inside_of_a_record', _nested)
    yield refused('zip/size_larger_in_both', _both(packed=99, size=99))
    yield refused(
        'zip/size_4_gib_in_both', _both(packed=1 << 31, size=1 << 31)
    )
    yield refused('zip/size_smaller_in_both', _both(packed=8, size=8))
    yield refused('zip/size_0_in_both', _both(packed=0, size=0))
    yield refused('zip/packed_differs_from_size', _both(size=64))
    yield refused('zip/size_larger_in_directory', _central(packed=99, size=99))
    yield refused('zip/size_smaller_in_directory', _central(packed=8, size=8))
    yield refused(
        'zip/size_larger_in_local_header', _local(packed=99, size=99)
    )
    yield refused('zip/crc_wrong_in_both', _both(crc=0x12345678))
    yield refused('zip/crc_wrong_in_directory', _central(crc=0x12345678))
    yield refused(
        'zip/crc_wrong_of_pickle',
        _changed(PICKLE, wrong('archive/data.pkl', HONEST, crc=1)),
    )
    yield refused('zip/offset_beyond_the_file', _central(offset=1 << 30))
    yield refused('zip/offset_into_another_record', _central(offset=40))
    yield refused(
        'zip/offset_into_the_directory',
        _central(offset=whole.index(b'PK\x01\x02')),
    )
    yield refused('zip/offset_0', _central(offset=0))
    # --- compression and encryption
    yield refused('zip/everything_deflated', _deflated)
    yield refused('large/zip_data_1000_fold', lambda: _bomb(DATA, 1 << 27))
    yield refused('large/zip_pickle_1000_fold', lambda: _bomb(PICKLE, 1 << 24))
    yield refused(
        'zip/deflated_said_to_be_stored',
        _changed(
            DATA,
            Record(
                'archive/data/0',
                FLOATS,
                dict(method=0),
                dict(method=0),
                deflate=True,
            ),
        ),
    )
    yield refused('zip/stored_said_to_be_deflated', _both(method=DEFLATED))
    yield refused('zip/deflated_in_directory', _central(method=DEFLATED))
    for method in (1, 12, 14, 93, 99):
        yield refused(f'zip/method_{method}', _both(method=method))
    yield refused('zip/encrypted', _both(flags=1))
    yield refused('zip/strongly_encrypted', _both(flags=0x41))
    yield refused(
        'zip/encrypted_pickle',
        _changed(PICKLE, wrong('archive/data.pkl', HONEST, flags=1)),
    )
    # --- names
    yield refused('zip/two_pickles', _named('other/data.pkl'))
    yield refused('zip/two_pickles_of_one_name', _named('archive/data.pkl'))
    yield refused(
        'zip/two_data_of_one_name',
        _changed(
            DATA,
            Record('archive/data/0', FLOATS),
            Record('archive/data/0', bytes(16)),
        ),
    )
    yield refused('zip/name_goes_up', _named('archive/../../evil'))
    yield refused('zip/name_goes_up_at_once', _named('../evil'))
    yield refused('zip/name_absolute', _named('/etc/evil'))
    yield refused('zip/name_of_a_drive', _named('C:\\evil'))
    yield refused('zip/name_with_backslashes', _named('..\\..\\evil'))
    yield harmless('zip/name_with_a_zero', _named(b'archive/data/1\0.txt'))
    yield harmless('zip/name_empty', _named(''))
    yield harmless('zip/name_not_unicode', _named(b'archive/\xff\xfe'))
    yield harmless('zip/name_of_60_kb', _named('archive/' + 'n' * 60_000))
    yield refused(
        'zip/name_differs_in_local_header', _local(name='archive/data/7')
    )
    yield refused('zip/no_pickle', _changed(PICKLE))
    yield refused('zip/no_records', archive())
    yield harmless('zip/no_version', _changed(VERSION))
    yield harmless(
        'zip/version_99999',
        _changed(VERSION, Record('archive/version', b'99999\n')),
    )
    yield harmless(
        'zip/version_garbage',
        _changed(VERSION, Record('archive/version', b'\xff' * 50)),
    )
    yield either('large/zip_100000_records', lambda: _many(100_000))
    yield either('large/zip_60000_records', lambda: _many(60_000))
    # --- the directory and its end
    end = whole.index(b'PK\x01\x02')
    yield refused(
        'zip/directory_beyond_the_file',
        archive(*records(HONEST), end=dict(offset=1 << 31)),
    )
    yield refused(
        'zip/directory_before_its_place',
        archive(*records(HONEST), end=dict(offset=end - 46)),
    )
    yield refused(
        'zip/directory_longer',
        archive(*records(HONEST), end=dict(size=1 << 20)),
    )
    yield refused(
        'zip/directory_shorter', archive(*records(HONEST), end=dict(size=46))
    )
    yield refused(
        'zip/count_larger', archive(*records(HONEST), end=dict(count=9))
    )
    yield refused(
        'zip/count_smaller', archive(*records(HONEST), end=dict(count=1))
    )
    yield refused('zip/count_0', archive(*records(HONEST), end=dict(count=0)))
    yield either(
        'zip/comment',
        archive(*records(HONEST), end=dict(comment=b'a comment')),
    )
    yield harmless(
        'zip/comment_with_another_end',
        archive(*records(HONEST), end=dict(comment=whole[-22:])),
    )
    yield harmless(
        'zip/two_archives',
        whole + zipped(checkpoint(tensor()), {'0': bytes(16)}),
    )
    yield harmless(
        'zip/bytes_after_the_end', archive(*records(HONEST), tail=b'\0' * 100)
    )
    yield refused('zip/bytes_before_the_start', b'#!/bin/sh\n' + whole)
    yield refused(
        'zip/gap_before_directory_is_a_record',
        archive(*records(HONEST), end=dict(offset=end + 1000)),
    )
    # --- zip64
    yield refused('zip64/size_2_60', _zip64(size=1 << 60))
    yield refused(
        'zip64/size_and_packed_2_63', _zip64(size=1 << 63, packed=1 << 63)
    )
    yield refused('zip64/size_beyond_the_file', _zip64(size=9999, packed=9999))
    yield refused('zip64/offset_2_62', _zip64(offset=1 << 62))
    yield refused('zip64/sizes_smaller', _zip64(size=4, packed=4))
    yield refused(
        'zip64/no_field', _central(size=0xFFFFFFFF, packed=0xFFFFFFFF)
    )
    yield refused(
        'zip64/field_cut',
        _central(size=0xFFFFFFFF, extra=b'\x01\x00\x08\x00\x10'),
    )
    yield refused(
        'zip64/field_longer_than_extra',
        _central(extra=b'\x01\x00\xff\xff'),
    )
    yield either('zip64/end', lambda: _zip64_end(end))
    yield refused('zip64/directory_2_62', lambda: _zip64_end(1 << 62))
    yield refused(
        'zip64/directory_negative', lambda: _zip64_end((1 << 64) - 9)
    )
    yield refused('zip64/count_2_40', lambda: _zip64_end(end, 1 << 40))
    yield either('zip/descriptors', lambda: _descriptor(16))
    yield either('zip/descriptor_lies', lambda: _descriptor(1 << 20))
    yield refused('zip/tar', _tar)
    yield either(
        'zip/floats_twice',
        archive(*records(HONEST, {'0': FLOATS, '1': FLOATS})),
        weights(),
    )


# fmt: skip
