# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Files with malformed NumPy arrays or logs."""

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from .entry import VALUES, Entry, either, harmless, read, refused
from .opcodes import (
    NONE,
    START,
    build,
    call,
    dict_of,
    doubled,
    integer,
    list_of,
    name,
    new,
    old_bytes,
    plain,
    tensor,
    text,
    tuple_of,
)
from .zip_writer import zipped

DOUBLES = struct.pack('<3d', 1.0, 2.0, 3.0)
_CORE = 'numpy.core.multiarray'
_HISTORY = 'mmengine.logging.history_buffer'


def _beside(value: bytes, key: str = 'note') -> bytes:
    """Make a file with honest weights and another value."""
    inner = dict_of((text('w'), tensor()))
    pairs = ((text('state_dict'), inner), (text(key), value))
    return zipped(START + dict_of(*pairs) + b'.')


def _holding(value: Any) -> dict:
    return {'state_dict': {'w': torch.tensor(VALUES)}, 'note': value}


def dtype(
    code: Any = 'f8', order: Any = '<', *, state: bytes | None = None
) -> bytes:
    """Return the opcodes of a ``numpy.dtype``."""
    made = call(name('numpy', 'dtype'), *map(plain, (code, False, True)))
    usual = (3, order, None, None, None, -1, -1, 0)
    return build(made, plain(usual) if state is None else state)


def array(
    shape: Any = (3,),
    kind: bytes | None = None,
    data: bytes | None = None,
    fortran: Any = False,
    module: str = _CORE,
) -> bytes:
    """Return the opcodes of a ``numpy.ndarray``."""
    made = call(
        name(module, '_reconstruct'),
        name('numpy', 'ndarray'),
        plain((0,)),
        old_bytes(b'b'),
    )
    state = tuple_of(
        integer(1),
        plain(shape),
        kind or dtype(),
        plain(fortran),
        old_bytes(DOUBLES) if data is None else data,
    )
    return build(made, state)


def arrays() -> Iterator[Entry]:
    """Yield files with malformed NumPy objects."""
    expected = _holding(np.array([1.0, 2.0, 3.0]))
    yield read('numpy/honest', _beside(array()), expected)
    yield read(
        'numpy/honest_of_numpy_2',
        _beside(array(module='numpy._core.multiarray')),
        expected,
    )
    number = call(name(_CORE, 'scalar'), dtype(), old_bytes(DOUBLES[8:16]))
    yield read(
        'numpy/honest_number', _beside(number), _holding(np.float64(2.0))
    )
    for label, shape in (
        ('larger', (4,)), ('smaller', (2,)), ('negative', (-3,)),
        ('minus_1', (-1,)), ('two_negatives', (-1, -3)), ('2_62', (1 << 62,)),
        ('2_64', (1 << 64,)), ('wraps_to_3', ((1 << 63) + 3, 2)),
        ('float', (3.0,)), ('string', ('3',)), ('a_number', 3), ('none', None),
        ('of_100_dimensions', (1,) * 99 + (3,)), ('nested_2_40', doubled(40)),
        ('holds_nested_2_40', (doubled(40),)),
    ):  # fmt: skip
        harmless_one = label in ('minus_1', 'string', 'float', 'a_number')
        make = harmless if harmless_one else refused
        yield make(f'numpy/shape_{label}', _beside(array(shape)))
    yield harmless(
        'numpy/shape_empty_2_62',
        _beside(array((0, 1 << 62), data=old_bytes(b''))),
    )
    for label, data in (
        ('short', old_bytes(DOUBLES[:20])), ('empty', old_bytes(b'')),
        ('none', NONE), ('text', text('x' * 24)),
        ('list', list_of(*[integer(1)] * 3)), ('tensor', tensor()),
        ('nested_2_40', doubled(40)), ('array', array()),
    ):  # fmt: skip
        # Python 2 stores the bytes as text.
        make = harmless if label == 'text' else refused
        yield make(f'numpy/data_{label}', _beside(array(data=data)))
    for code in (
        'O',
        'object',
        'f8,i4',
        'O8',
        'V16',
        '(2,)f8',
        'f4:f8',
        'x',
        '',
        'f3',
        'M8[s]',
        'U1000000000',
        'S1073741824',
        'c7',
    ):
        make = harmless if code == 'M8[s]' else refused
        label = code.replace('(', '').replace(')', '') or 'empty'
        yield make(f'numpy/type_{label}', _beside(array(kind=dtype(code))))
    yield refused(
        'numpy/type_U0',
        _beside(array(kind=dtype('U0'), data=old_bytes(DOUBLES))),
    )
    for label, code in (
        ('number', 5), ('none', None), ('fields', list_of(
            tuple_of(text('a'), text('O')))), ('dict', dict_of(
                (text('names'), list_of(text('a'))),
                (text('formats'), list_of(text('O'))))),
        ('nested_2_40', doubled(40)), ('class', name('numpy', 'ndarray')),
        ('type', dtype()),
    ):  # fmt: skip
        yield refused(
            f'numpy/type_of_{label}', _beside(array(kind=dtype(code)))
        )
    for label, state in (
        ('fields', plain((3, '|', None, ('a',), dict_of(
            (text('a'), tuple_of(dtype('O'), integer(0)))), 8, 8, 63))),
        ('a_subtype', plain((3, '|', (dtype(), (3,)), None, None, 24, 8, 0))),
        ('size_1', plain((3, '<', None, None, None, 1, 1, 0))),
        ('size_2_31', plain((3, '<', None, None, None, 1 << 31, 1, 0))),
        ('object_flags', plain((3, '|', None, None, None, -1, -1, 63))),
        ('an_odd_order', plain((3, 'x', None, None, None, -1, -1, 0))),
        ('a_number', integer(3)), ('nothing', tuple_of()), ('none', NONE),
        ('metadata', plain((4, '<', None, None, None, -1, -1, 0, dict_of()))),
        ('nested_2_40', doubled(40)),
    ):  # fmt: skip
        odd = label in (
            'size_1',
            'size_2_31',
            'object_flags',
            'metadata',
            'an_odd_order',
            'nested_2_40',
        )
        make = harmless if odd else refused
        yield make(
            f'numpy/type_state_{label}',
            _beside(array(kind=dtype(state=state))),
        )
    yield refused(
        'numpy/type_state_twice',
        _beside(
            array(
                kind=build(
                    dtype(), plain((3, '|', None, ('a',), dict_of(), 8, 8, 63))
                )
            )
        ),
    )
    yield refused('numpy/type_is_text', _beside(array(kind=text('f8'))))
    for label, kind in (
        ('dtype', name('numpy', 'dtype')),
        ('matrix', name('numpy', 'matrix')),
        ('memmap', name('numpy', 'memmap')),
        ('text', text('ndarray')),
        ('recarray', name('numpy', 'recarray')),
    ):
        yield refused(
            f'numpy/rebuilt_as_{label}',
            _beside(
                call(
                    name(_CORE, '_reconstruct'),
                    kind,
                    plain((0,)),
                    old_bytes(b'b'),
                )
            ),
        )
    yield refused(
        'numpy/rebuilt_of_2_40',
        _beside(call(name('numpy', 'ndarray'), plain((1 << 40,)))),
    )
    yield refused(
        'numpy/called_of_1000',
        _beside(call(name('numpy', 'ndarray'), plain((1000,)))),
    )
    yield refused(
        'numpy/new_of_1000',
        _beside(new(name('numpy', 'ndarray'), plain((1000,)))),
    )
    yield harmless(
        'numpy/without_a_state',
        _beside(
            call(
                name(_CORE, '_reconstruct'),
                name('numpy', 'ndarray'),
                plain((0,)),
                old_bytes(b'b'),
            )
        ),
    )
    yield harmless(
        'numpy/without_a_state_of_10_6',
        _beside(
            call(
                name(_CORE, '_reconstruct'),
                name('numpy', 'ndarray'),
                plain((10**6,)),
                old_bytes(b'd'),
            )
        ),
    )
    for label, state in (
        ('none', NONE),
        ('short', plain((1, (3,)))),
        ('dict', dict_of()),
        ('nested', doubled(40)),
    ):
        yield refused(f'numpy/state_{label}', _beside(build(array(), state)))
    for label, arguments in (
        ('short', (dtype(), old_bytes(b'1234'))),
        ('none', (dtype(), NONE)),
        ('object', (dtype('O'), old_bytes(bytes(8)))),
        ('no_bytes', (dtype(),)),
        ('no_type', (NONE, old_bytes(DOUBLES))),
        ('nested', (dtype(), doubled(40))),
    ):
        yield refused(
            f'numpy/number_of_{label}',
            _beside(call(name(_CORE, 'scalar'), *arguments)),
        )
    for attribute in (
        'fromfile',
        'load',
        'memmap',
        'frombuffer',
        'core',
        'ctypeslib.as_array',
        'lib.npyio.load',
        'empty',
    ):
        yield refused(
            f'numpy/name_{attribute}',
            _beside(call(name('numpy', attribute), text('x'))),
        )
    yield refused(
        'numpy/buffer_of_numpy',
        _beside(
            call(
                name('numpy.core.numeric', '_frombuffer'),
                old_bytes(DOUBLES),
                dtype(),
                plain((9,)),
                text('C'),
            )
        ),
    )


def history(**change: Any) -> bytes:
    """Return the opcodes of a ``HistoryBuffer`` as mmengine saves it."""
    methods = [
        (text(n), call(name('builtins', 'getattr'),
                       name(_HISTORY, 'HistoryBuffer'), text(n)))
        for n in ('min', 'max', 'current', 'mean')
    ]  # fmt: skip
    state: dict[str, Any] = (
        dict(
            max_length=1_000_000,
            _set_default_statistics=True,
            _log_history=array(),
            _count_history=array(
                kind=dtype('i8'), data=old_bytes(struct.pack('<3q', 1, 1, 1))
            ),
            _statistics_methods=dict_of(*methods),
        )
        | change
    )
    pairs = [(text(k), plain(v)) for k, v in state.items() if v is not ...]
    return build(new(name(_HISTORY, 'HistoryBuffer')), dict_of(*pairs))


def histories() -> Iterator[Entry]:
    """Yield files with malformed logs."""
    for key in ('max_length', '_log_history', '_count_history'):
        yield refused(
            f'history/no_{key.strip("_")}', _beside(history(**{key: ...}))
        )
    for label, length in (
        ('negative', -1),
        ('text', 'x'),
        ('none', None),
        ('2_64', 1 << 64),
        ('list', list_of()),
        ('nan', float('nan')),
        ('nested', doubled(40)),
    ):
        make = harmless if label in ('negative', '2_64') else refused
        yield make(
            f'history/length_{label}', _beside(history(max_length=length))
        )
    for label, log in (
        ('text', 'abc'), ('none', None), ('number', 1.0),
        ('list', list_of(integer(1), text('a'))), ('dict', dict_of()),
        ('nested', doubled(40)), ('history', history()),
        ('of_text', array(kind=dtype('S8'))),
    ):  # fmt: skip
        yield refused(
            f'history/log_{label}', _beside(history(_log_history=log))
        )
    yield harmless(
        'history/log_shorter_than_counts',
        _beside(
            history(_log_history=array((2,), data=old_bytes(DOUBLES[:16])))
        ),
    )
    yield harmless(
        'history/log_of_two_dimensions',
        _beside(history(_log_history=array((3, 1)))),
    )
    yield harmless(
        'history/methods_empty',
        _beside(history(_statistics_methods=dict_of())),
    )
    for attribute in (
        '__init__',
        '__globals__',
        'register_statistics',
        '__class__',
        'min.__globals__',
        '_statistics_methods',
    ):
        yield refused(
            f'history/method_{attribute}',
            _beside(
                history(
                    _statistics_methods=dict_of(
                        (
                            text('min'),
                            call(
                                name('builtins', 'getattr'),
                                name(_HISTORY, 'HistoryBuffer'),
                                text(attribute),
                            ),
                        )
                    )
                )
            ),
        )
    yield refused(
        'history/getattr_of_a_tensor',
        _beside(call(name('builtins', 'getattr'), tensor(), text('min'))),
    )
    yield refused(
        'history/getattr_of_a_class',
        _beside(
            call(
                name('builtins', 'getattr'),
                name('torch', 'Tensor'),
                text('min'),
            )
        ),
    )
    yield refused(
        'history/getattr_of_nothing',
        _beside(call(name('builtins', 'getattr'))),
    )
    yield harmless(
        'history/with_more_attributes',
        _beside(
            history(update=text('x'), __class__=text('y'), __dict__=dict_of())
        ),
    )
    for label, state in (
        ('none', NONE),
        ('list', list_of()),
        ('text', text('x')),
    ):
        yield refused(
            f'history/state_{label}',
            _beside(build(new(name(_HISTORY, 'HistoryBuffer')), state)),
        )
    yield harmless(
        'history/without_a_state',
        _beside(new(name(_HISTORY, 'HistoryBuffer'))),
    )
    yield refused(
        'history/in_itself',
        _beside(
            new(name(_HISTORY, 'HistoryBuffer'))
            + b'q\x07'
            + dict_of(
                (text('max_length'), integer(9)),
                (text('_log_history'), b'h\x07'),
                (text('_count_history'), b'h\x07'),
            )
            + b'b'
        ),
    )
    yield either(
        'history/number_with_arguments',
        _beside(number_of(5)),
        _holding(np.float64(5.0)),
    )


def number_of(value: float) -> bytes:
    """Return the opcodes of a NumPy number."""
    return call(
        name(_CORE, 'scalar'), dtype(), old_bytes(struct.pack('<d', value))
    )
