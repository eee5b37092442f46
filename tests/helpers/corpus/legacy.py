# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Files in the format before torch 1.6 whose parts do not fit together."""

import struct
from collections.abc import Iterator
from typing import Any

from .entry import VALUES, Entry, either, harmless, read, refused, weights
from .opcodes import (
    START,
    checkpoint,
    dict_of,
    doubled,
    integer,
    list_of,
    name,
    plain,
    storage,
    tensor,
    text,
)
from .zip_writer import FLOATS

MAGIC = 0x1950A86A20F9469CFC6C


def _pickled(value: Any) -> bytes:
    return START + plain(value) + b'.'


def _info(**change: Any) -> bytes:
    sizes = dict_of(*((text(k), integer(n)) for k, n in (
        ('short', 2), ('int', 4), ('long', 4))))  # fmt: skip
    said = (
        dict(protocol_version=1001, little_endian=True, type_sizes=sizes)
        | change
    )
    return dict_of(*((text(k), plain(v)) for k, v in said.items()))


def legacy(
    pickled: bytes | None = None,
    keys: Any = None,
    storages: bytes | None = None,
    magic: Any = MAGIC,
    protocol: Any = 1001,
    info: Any = None,
) -> bytes:
    """Make a file in the older format."""
    view = storage(4, '0', 'FloatStorage', 'cpu', None)
    return b''.join(
        (
            _pickled(magic),
            _pickled(protocol),
            _pickled(_info() if info is None else info),
            checkpoint(tensor(view)) if pickled is None else pickled,
            _pickled(list_of(text('0')) if keys is None else keys),
            struct.pack('<q', 4) + FLOATS if storages is None else storages,
        )
    )


def _with(of: bytes, *arguments: Any) -> bytes:
    return legacy(checkpoint(tensor(of, *arguments)))


def _said(numel: int, data: bytes = FLOATS) -> bytes:
    return legacy(storages=struct.pack('<q', numel) + data)


def _view(key: Any, offset: Any, size: Any, of: Any = '0') -> bytes:
    of = storage(4, of, 'FloatStorage', 'cpu', (key, offset, size))
    return _with(of, 0, (2,))


def legacy_files() -> Iterator[Entry]:
    """Yield all files of this kind."""
    whole = legacy()
    yield read('legacy/honest', whole)
    for point in (
        1,
        5,
        13,
        20,
        60,
        130,
        len(whole) // 2,
        len(whole) - 24,
        len(whole) - 16,
        len(whole) - 8,
        len(whole) - 1,
    ):
        yield refused(f'legacy/truncated_to_{point}', whole[:point])
    for label, magic in (
        ('other', MAGIC + 1),
        ('text', 'x'),
        ('none', None),
        ('nested_2_40', doubled(40)),
        ('2_2000', 1 << 2000),
    ):
        yield refused(f'legacy/magic_{label}', legacy(magic=magic))
    for label, protocol in (
        ('1000', 1000),
        ('text', '1001'),
        ('none', None),
        ('2_2000', 1 << 2000),
        ('nested', doubled(40)),
    ):
        yield refused(f'legacy/protocol_{label}', legacy(protocol=protocol))
    for label, info in (
        ('none', None),
        ('list', list_of()),
        ('tensor', tensor()),
        ('nested', doubled(40)),
    ):
        given = legacy(info=info if info is not None else b'N')
        yield harmless(f'legacy/info_{label}', given)
    yield harmless(
        'legacy/info_big_endian', legacy(info=_info(little_endian=False))
    )
    yield harmless(
        'legacy/info_sizes_lie',
        legacy(
            info=_info(type_sizes=dict_of((text('int'), integer(1 << 40))))
        ),
    )
    yield refused(
        'legacy/info_calls',
        legacy(info=name('os', 'system') + b'(X\x04\0\0\0truetR'),
    )
    # --- keys
    for label, keys in (
        ('missing', list_of()), ('another', list_of(text('7'))),
        ('numbers', list_of(integer(0))), ('none', b'N'), ('text', text('0')),
        ('nested', doubled(40)), ('a_dict', dict_of((text('0'), integer(1)))),
        ('lists', list_of(list_of())), ('tensor', list_of(tensor())),
        ('more', list_of(text('0'), text('1'))),
    ):  # fmt: skip
        make = harmless if label in ('text', 'a_dict', 'numbers') else refused
        yield make(f'legacy/keys_{label}', legacy(keys=keys))
    yield refused(
        'large/legacy_a_million_keys',
        lambda: legacy(keys=list_of(*[text('0')] * 1_000_000)),
    )
    block = struct.pack('<q', 4) + FLOATS
    yield refused(
        'legacy/keys_twice',
        legacy(keys=list_of(text('0'), text('0')), storages=block + block),
    )
    # --- storages
    for numel in (
        0,
        1,
        3,
        5,
        1000,
        50_000_000,
        1 << 40,
        (1 << 62) + 1,
        (1 << 63) - 1,
        -1,
        -4,
        -(1 << 63),
    ):
        yield refused(f'legacy/numel_{numel}', _said(numel))
    yield refused(
        'legacy/numel_of_both_larger',
        legacy(
            checkpoint(
                tensor(storage(99, '0', 'FloatStorage', 'cpu', None), 0, (99,))
            ),
            storages=struct.pack('<q', 99) + FLOATS,
        ),
    )
    yield refused(
        'legacy/numel_of_pickle_larger',
        _with(storage(99, '0', 'FloatStorage', 'cpu', None), 0, (99,)),
    )
    yield harmless(
        'legacy/numel_of_pickle_smaller',
        _with(storage(2, '0', 'FloatStorage', 'cpu', None), 0, (2,)),
    )
    yield refused(
        'legacy/numel_of_pickle_50_million',
        _with(storage(50_000_000, '0', 'FloatStorage', 'cpu', None)),
    )
    yield refused(
        'legacy/of_wider_numbers',
        _with(storage(4, '0', 'DoubleStorage', 'cpu', None)),
    )
    yield refused(
        'legacy/of_two_types',
        legacy(
            checkpoint(
                list_of(
                    tensor(storage(4, '0', 'FloatStorage', 'cpu', None)),
                    tensor(storage(4, '0', 'IntStorage', 'cpu', None)),
                )
            )
        ),
    )
    yield refused(
        'legacy/shape_outside',
        _with(storage(4, '0', 'FloatStorage', 'cpu', None), 0, (5,)),
    )
    yield refused(
        'legacy/offset_negative',
        _with(storage(4, '0', 'FloatStorage', 'cpu', None), -1),
    )
    yield refused(
        'legacy/shape_10_10_of_stride_0',
        _with(
            storage(4, '0', 'FloatStorage', 'cpu', None), 0, (10**10,), (0,)
        ),
    )
    yield harmless('legacy/bytes_after_the_end', whole + bytes(100))
    yield either('legacy/storage_without_view_field', _with(storage()))
    # --- views
    yield either('legacy/view', _view('1', 1, 2), weights(2.0, 3.0))
    for label, view in (
        ('beyond', ('1', 3, 2)), ('far_beyond', ('1', 1 << 40, 2)),
        ('2_62', ('1', 1 << 62, 2)), ('negative', ('1', -1, 2)),
        ('size_negative', ('1', 0, -2)), ('size_2_40', ('1', 0, 1 << 40)),
        ('size_2_62', ('1', 0, 1 << 62)), ('size_1', ('1', 0, 1)),
        ('size_text', ('1', 0, '2')), ('offset_text', ('1', '0', 2)),
        ('offset_float', ('1', 0.5, 2)),
        ('of_itself_beyond', ('0', 4, 2)),
    ):  # fmt: skip
        yield refused(f'legacy/view_{label}', _view(*view))
    yield refused('legacy/view_of_a_missing_key', _view('1', 0, 2, '9'))
    yield harmless('legacy/view_nested_2_40', _view(doubled(40), 0, 2))
    yield refused(
        'legacy/view_a_text',
        _with(storage(4, '0', 'FloatStorage', 'cpu', 'abc')),
    )
    yield refused(
        'legacy/view_of_two_parts',
        _with(storage(4, '0', 'FloatStorage', 'cpu', ('1', 0))),
    )
    # --- something else than the expected pickle
    for label, pickled in (
        ('a_tensor', START + tensor() + b'.'),
        ('none', START + b'N.'),
        ('a_module', START + name('torch.nn', 'Linear') + b'.'),
        ('shared_tuples', checkpoint(doubled(40))),
        (
            'setitem_on_a_list',
            checkpoint(list_of(integer(1)) + integer(0) + integer(7) + b's'),
        ),
        ('lists_100000', checkpoint(b']' * 100_000 + b'a' * 99_999)),
    ):
        make = harmless if label == 'shared_tuples' else refused
        yield make(f'legacy/pickle_{label}', legacy(pickled, list_of(), b''))
    yield harmless(
        'legacy/no_storages',
        legacy(
            START + dict_of((text('state_dict'), dict_of())) + b'.',
            list_of(),
            b'',
        ),
    )
    yield refused('legacy/bare_pickle', checkpoint(tensor()))
    yield harmless(
        'legacy/bare_pickle_of_no_tensor',
        START + dict_of((text('state_dict'), dict_of())) + b'.',
    )
    yield refused(
        'legacy/of_a_million_bytes_of_magic', _pickled(MAGIC) * 60_000
    )
    yield refused('legacy/floats_only', struct.pack('<4f', *VALUES) * 100)
