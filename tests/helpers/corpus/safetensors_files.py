# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Safetensors files whose header does not fit the file."""

import json
import struct
from collections.abc import Iterator
from typing import Any

import torch

from .entry import VALUES, Allowed, Entry
from .zip_writer import FLOATS, zipped

SUFFIX = '.safetensors'
HONEST = dict(dtype='F32', shape=[4], data_offsets=[0, 16])
WANTED = {'state_dict': {'w': torch.tensor(VALUES)}, 'meta': {}}


def raw(header: bytes, data: bytes = FLOATS, size: int | None = None) -> bytes:
    """Make a file from the bytes of its header."""
    size = len(header) if size is None else size
    return struct.pack('<Q', size) + header + data


def made(header: Any, data: bytes = FLOATS) -> bytes:
    """Make a file from its header."""
    return raw(json.dumps(header).encode(), data)


def _one(data: bytes = FLOATS, **change: Any) -> bytes:
    return made({'w': {**HONEST, **change}}, data)


def _refused(label: str, content: bytes) -> Entry:
    return Entry(f'safetensors/{label}', content, suffix=SUFFIX)


def _harmless(label: str, content: bytes) -> Entry:
    return Entry(
        f'safetensors/{label}', content, Allowed.HARMLESS, suffix=SUFFIX
    )


def safetensors_files() -> Iterator[Entry]:
    """Yield all files of this kind."""
    whole = _one()
    yield Entry('safetensors/honest', whole, Allowed.READ, WANTED, SUFFIX)
    for point in (0, 1, 7, 8, 9, 40, len(whole) - 16, len(whole) - 1):
        yield _refused(f'truncated_to_{point}', whole[:point])
    header = json.dumps({'w': HONEST}).encode()
    for size in (
        0,
        1,
        len(header) - 1,
        len(header) + 1,
        len(header) + 16,
        10**6,
        10**8,
        1 << 31,
        1 << 32,
        1 << 62,
        (1 << 63) - 1,
        1 << 63,
        (1 << 64) - 1,
        (1 << 64) - 8,
    ):
        yield _refused(f'header_of_{size}', raw(header, size=size))
    # --- offsets
    for label, offsets in (
        ('outside', [0, 32]), ('far_outside', [1 << 40, (1 << 40) + 16]),
        ('2_63', [1 << 63, (1 << 63) + 16]), ('2_64', [0, 1 << 64]),
        ('wrap', [(1 << 64) - 16, 0]), ('reversed', [16, 0]),
        ('negative', [-16, 0]), ('float', [0.0, 16.0]), ('text', ['0', '16']),
        ('one', [0]), ('three', [0, 16, 32]), ('none', None), ('bool', [
            False, 16]), ('shorter', [0, 12]), ('shifted', [4, 20]),
        ('hole_before', [8, 24]), ('1e400', [0, 1e308 * 10]),
    ):  # fmt: skip
        data = FLOATS + bytes(8) if label == 'hole_before' else FLOATS
        yield _refused(f'offsets_{label}', _one(data, data_offsets=offsets))
    two = {'a': HONEST, 'b': HONEST}
    yield _refused('overlap_whole', made(two))
    two = {'a': HONEST, 'b': {**HONEST, 'data_offsets': [8, 24]}}
    yield _refused('overlap_half', made(two, FLOATS + bytes(8)))
    two = {'a': HONEST, 'b': {**HONEST, 'data_offsets': [24, 40]}}
    yield _refused('hole_between', made(two, FLOATS * 3))
    yield _refused('bytes_after_the_end', whole + bytes(16))
    yield _refused('one_byte_after_the_end', whole + b'\0')
    yield _refused('no_data', made({'w': HONEST}, b''))
    yield _refused('data_without_a_tensor', made({}, FLOATS))
    # --- shapes
    for label, shape in (
        ('larger', [5]), ('smaller', [3]), ('negative', [-4]),
        ('two_negatives', [-2, -2]), ('2_62', [1 << 62]),
        ('2_64_plus_4', [(1 << 64) + 4]), ('wraps_to_4', [(1 << 62) + 1, 4]),
        ('wraps_to_0', [1 << 32, 1 << 32]), ('float', [4.0]), ('text', ['4']),
        ('nested', [[4]]), ('a_number', 4), ('none', None), ('bool', [True]),
        ('zero', [0]), ('zero_and_huge', [0, 1 << 63]),
    ):  # fmt: skip
        yield _refused(f'shape_{label}', _one(shape=shape))
    yield _harmless('shape_of_2000_ones', _one(shape=[1] * 2000 + [4]))
    yield _harmless(
        'shape_empty_and_huge',
        _one(b'', shape=[0, 1 << 62], data_offsets=[0, 0]),
    )
    yield _harmless(
        'shape_none_of_one', _one(FLOATS[:4], shape=[], data_offsets=[0, 4])
    )
    # --- types
    for kind in (
        'F33',
        '',
        'f32',
        'O',
        'float32',
        'F64',
        'U8',
        None,
        5,
        [],
        {},
        'F32\u0000',
        'Z' * 10_000,
    ):
        yield _refused(f'type_{str(kind)[:8]!a}', _one(dtype=kind))
    yield _harmless('type_I32', _one(dtype='I32'))
    bools = _one(b'\x02\xff\x01\x00', dtype='BOOL', data_offsets=[0, 4])
    yield _harmless('type_bool_of_2_and_255', bools)
    # --- JSON
    text = json.dumps(HONEST)
    yield _refused('key_twice', raw(f'{{"w": {text}, "w": {text}}}'.encode()))
    other = json.dumps({**HONEST, 'shape': [2, 2]})
    yield _refused(
        'key_twice_and_different',
        raw(f'{{"w": {text}, "w": {other}}}'.encode()),
    )
    yield _refused(
        'field_twice', raw(f'{{"w": {text[:-1]}, "shape": [2, 2]}}}}'.encode())
    )
    yield _refused(
        'metadata_twice',
        raw(
            (
                '{"__metadata__": {"a": "1"}, "__metadata__": {"a": "2"}, '
                f'"w": {text}}}'
            ).encode()
        ),
    )
    for depth in (1000, 100_000, 1_000_000):
        yield _refused(f'lists_nested_{depth}', raw(b'[' * depth))
        yield _refused(f'dicts_nested_{depth}', raw(b'{"a":' * depth))
        deep = b'{"__metadata__": ' + b'[' * depth + b']' * depth + b'}'
        yield _refused(f'metadata_nested_{depth}', raw(deep, b''))
        yield _harmless(
            f'metadata_text_nested_{depth}',
            made({'__metadata__': {'epoch': '[' * depth}, 'w': HONEST}),
        )
    for label, content in (
        ('not_utf8', b'{"w\xff": ' + text.encode() + b'}'),
        ('not_json', b'weights!'), ('empty', b''), ('blank', b' ' * 100),
        ('a_list', b'[]'), ('a_number', b'1'), ('a_text', b'"abc"'),
        ('null', b'null'), ('nan', b'{"w": NaN}'), ('comment', b'{/**/}'),
        ('comma', b'{"w": ' + text.encode() + b',}'),
        ('not_ended', b'{"w": ' + text.encode()),
        ('more_after', b'{"w": ' + text.encode() + b'}{}'),
        ('bom', b'\xef\xbb\xbf{"w": ' + text.encode() + b'}'),
        ('utf16', ('{"w": ' + text + '}').encode('utf-16')),
        ('surrogate', b'{"w\\ud800": ' + text.encode() + b'}'),
        ('blank_before', b' {"w": ' + text.encode() + b'}'),
        ('number_of_100000_digits', b'{"w": {"dtype": "F32", "shape": ['
         + b'9' * 100_000 + b'], "data_offsets": [0, 16]}}'),
    ):  # fmt: skip
        harmless = label in ('surrogate', 'blank_before')
        make = _harmless if harmless else _refused
        yield make(f'header_{label}', raw(content))
    for label, value in (
        ('number', 5),
        ('list', []),
        ('null', None),
        ('field', {}),
        ('text', 'abc'),
        ('true', True),
    ):
        yield _refused(f'tensor_is_{label}', made({'w': value}, b''))
    yield _harmless('field_unknown', _one(evil=True))
    for label, value in (
        ('number', {'a': 5}), ('dict', {'a': {}}), ('of_null', {'a': None}),
        ('a_list', []), ('a_text', 'abc'), ('a_number', 5),
        ('list', {'epoch': [1]}), ('bool', {'a': True}),
    ):  # fmt: skip
        yield _refused(
            f'metadata_{label}', made({'__metadata__': value, 'w': HONEST})
        )
    yield _harmless('metadata_null', made({'__metadata__': None, 'w': HONEST}))
    yield Entry(
        'safetensors/metadata_of_odd_values',
        made(
            {
                '__metadata__': {
                    'epoch': '1e999',
                    'iter': '9' * 5000,
                    'arch': '{"a"',
                    'note': '\u001b[2J',
                },
                'w': HONEST,
            }
        ),
        Allowed.HARMLESS,
        suffix=SUFFIX,
    )
    yield Entry(
        'large/safetensors_100000_tensors',
        lambda: made(
            {
                f't{n}': dict(dtype='F32', shape=[0], data_offsets=[0, 0])
                for n in range(100_000)
            },
            b'',
        ),
        Allowed.HARMLESS,
        suffix=SUFFIX,
    )
    for key in ('', '\u001b[2J', 'a\nb', 'x' * 100_000, '__metadata__x'):
        yield _harmless(f'key_{key[:6]!a}', made({key: HONEST}))
    yield Entry(
        'large/safetensors_header_of_100_mb',
        lambda: raw(b' ' * 100_000_001),
        suffix=SUFFIX,
    )
    yield _refused('is_a_zip', zipped(b'\x80\x02}.'))
    yield _refused('is_a_pickle', b'\x80\x02}.')
