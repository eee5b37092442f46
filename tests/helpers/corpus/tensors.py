# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Files whose storages and tensors do not fit the bytes that are there."""

import struct
from collections.abc import Iterator

import torch

from .entry import Entry, either, harmless, read, refused, weights
from .opcodes import (
    HOOKS,
    NONE,
    call,
    checkpoint,
    dict_of,
    doubled,
    integer,
    list_of,
    name,
    new,
    plain,
    small_bytes,
    storage,
    tensor,
    text,
    tuple_of,
)
from .zip_writer import FLOATS, Record, archive, records, zipped

HUGE = (1 << 40, 1 << 61, (1 << 63) - 1, 1 << 63, 1 << 64, 1 << 2000)


def _short(number: int) -> str:
    size = number.bit_length()
    return str(number) if size < 30 else f'{"-" * (number < 0)}{size}_bits'


def _file(value: bytes, data: bytes = FLOATS, before: bytes = b'') -> bytes:
    return zipped(checkpoint(value, before), {'0': data})


def _of(*arguments: object, **options: object) -> bytes:
    return _file(tensor(storage(*arguments, **options)))


def _at(*arguments: object, **options: object) -> bytes:
    return _file(tensor(None, *arguments, **options))


def _rebuilt(function: str, *arguments: object) -> bytes:
    given = map(plain, arguments)
    return _file(call(name('torch._utils', function), *given))


def storages() -> Iterator[Entry]:
    """Yield files with malformed storages."""
    big = 65_536
    yield refused(
        'storage/16_bytes_declared_65536_floats',
        _file(tensor(storage(big), 0, (big,))),
    )
    big = 50_000_000
    yield refused(
        'storage/16_bytes_declared_50_million_floats',
        _file(tensor(storage(big), 0, (big,))),
    )
    yield refused('storage/16_bytes_declared_5_floats', _of(5))
    yield refused('storage/no_bytes_declared_4_floats', _file(tensor(), b''))
    yield refused(
        'storage/15_bytes_declared_4_floats', _file(tensor(), FLOATS[:15])
    )
    yield refused(
        'storage/17_bytes_declared_5_floats',
        _file(tensor(storage(5)), FLOATS + b'x'),
    )
    yield either(
        'storage/24_bytes_declared_4_floats',
        _file(tensor(), FLOATS + bytes(8)),
    )
    yield either(
        'storage/16_bytes_declared_2_floats',
        _file(tensor(storage(2), 0, (2,))),
        weights(1.0, 2.0),
    )
    yield refused('storage/larger_only_where_unused', _of(1 << 20))
    yield refused('storage/of_doubles', _of(4, kind='DoubleStorage'))
    yield refused('storage/of_complex', _of(4, kind='ComplexDoubleStorage'))
    for numel in (-1, -(1 << 31), -(1 << 62), *HUGE):
        yield refused(f'storage/declared_{_short(numel)}', _of(numel))
    for label, numel in (
        ('a_float', 4.0), ('infinite', float('inf')), ('a_string', '4'),
        ('none', None), ('a_tuple', (4,)), ('nested_2_40', doubled(40)),
        ('a_list', list_of(integer(4))), ('a_tensor', tensor()),
    ):  # fmt: skip
        yield refused(f'storage/declared_{label}', _of(numel))
    yield harmless(
        'storage/declared_true', _file(tensor(storage(True), 0, (1,)))
    )
    # --- class
    for kind in (
        'FooStorage',
        'Tensor',
        'FloatTensor',
        'load',
        'float32',
        'cuda.FloatStorage',
        'nn.Linear',
        'Size',
        'device',
    ):
        yield refused(f'storage/class_{kind}', _of(4, kind=kind))
    yield refused('storage/class_a_string', _of(4, kind=text('FloatStorage')))
    yield refused('storage/class_none', _of(4, kind=NONE))
    yield refused('storage/class_a_dict', _of(4, kind=dict_of()))
    yield refused(
        'storage/class_of_python',
        _of(4, kind=name('collections', 'OrderedDict')),
    )
    untyped = name('torch.storage', 'UntypedStorage')
    yield harmless('storage/class_untyped', _of(16, kind=untyped))
    yield refused('storage/class_untyped_declared_17', _of(17, kind=untyped))
    # --- key
    yield either('storage/key_a_number', _of(4, 0))
    for label, key in (
        ('missing', '7'), ('empty', ''), ('goes_up', '../data.pkl'),
        ('goes_up_to_order', '../byteorder'), ('goes_round', '../data/0'),
        ('dot', './0'), ('absolute', '/archive/data/0'), ('none', None),
        ('a_tuple', ('0',)), ('nested_2_40', doubled(40)), ('a_float', 0.0),
        ('with_a_zero', '0\0'), ('of_60_kb', '0' * 60_000), ('blank', ' 0'),
        ('a_list', list_of(text('0'))), ('a_dict', dict_of()),
        ('with_escapes', '\x1b[2J\n0'), ('bytes', small_bytes(b'00')),
    ):  # fmt: skip
        yield refused(f'storage/key_{label}', _of(4, key))
    ints = tensor(storage(4, kind='IntStorage'))
    yield refused('storage/one_of_two_types', _file(list_of(tensor(), ints)))
    yield refused(
        'storage/one_of_two_sizes',
        _file(
            list_of(
                tensor(), tensor(storage(2, kind='DoubleStorage'), 0, (2,))
            )
        ),
    )
    yield refused(
        'storage/one_small_then_large',
        _file(
            list_of(tensor(storage(2), 0, (2,)), tensor(storage(9), 0, (9,)))
        ),
    )
    # --- device
    for label, location in (
        ('cuda', 'cuda:0'), ('cuda_999', 'cuda:999'), ('meta', 'meta'),
        ('garbage', 'no such place'), ('none', None), ('number', 5),
        ('escapes', '\x1b[2J\n'), ('tuple', ()), ('nested_2_40', doubled(40)),
    ):  # fmt: skip
        yield either(
            f'storage/place_{label}', _of(4, '0', 'FloatStorage', location)
        )
    yield harmless(
        'storage/with_a_view', _of(4, '0', 'FloatStorage', 'cpu', ('1', 0, 4))
    )
    yield refused(
        'storage/with_a_view_beyond',
        _of(4, '0', 'FloatStorage', 'cpu', ('1', 1 << 40, 4)),
    )
    # --- reference
    for label, pid in (
        ('a_string', text('storage')),
        ('a_number', integer(0)),
        ('empty', tuple_of()),
        ('a_list', list_of(text('storage'))),
        ('none', NONE),
        ('short', tuple_of(text('storage'))),
        ('nested_2_40', doubled(40)),
        ('of_another_kind', tuple_of(text('module'), NONE, NONE, NONE)),
        ('of_100000_parts', tuple_of(text('storage'), integer(1) * 100_000)),
    ):
        yield refused(f'storage/reference_{label}', _file(tensor(pid + b'Q')))
    yield refused('storage/none_at_all', _file(tensor(NONE)))
    yield refused('storage/a_list_instead', _file(tensor(list_of(integer(1)))))
    yield refused('storage/alone', _file(storage(1 << 30)))
    # --- order of bytes
    for order in (b'litle', b'', b'\xff', b'little\n', b'middle' * 20_000):
        given = records(checkpoint(tensor()))
        given[1] = Record('archive/byteorder', order)
        label = order[:7].decode('latin1').strip() or 'empty'
        yield refused(f'storage/order_{label}_{len(order)}', archive(*given))
    given = records(checkpoint(tensor()), {'0': FLOATS[::-1]})
    given[1] = Record('archive/byteorder', b'big')
    yield either(
        'storage/order_big', archive(*given), weights(4.0, 3.0, 2.0, 1.0)
    )
    given = records(checkpoint(tensor()))
    del given[1]
    yield read('storage/order_not_said', archive(*given))


def tensors() -> Iterator[Entry]:
    """Yield files whose tensors do not lie inside their storage."""
    # --- offset
    for offset in (-1, -(1 << 62), 1, 4, 5, *HUGE):
        yield refused(f'tensor/offset_{_short(offset)}', _at(offset))
    for label, offset in (
        ('float', 0.5),
        ('string', '0'),
        ('none', None),
        ('tuple', (0,)),
        ('nested_2_40', doubled(40)),
    ):
        yield refused(f'tensor/offset_{label}', _at(offset))
    yield harmless('tensor/offset_true', _at(True, (3,)))
    # --- shape
    for label, shape, stride in (
        ('negative', (-4,), (1,)), ('two_negatives', (-2, -2), (2, 1)),
        ('larger', (5,), (1,)), ('2_62', (1 << 62,), (1,)),
        ('2_64', (1 << 64,), (1,)), ('2_2000', (1 << 2000,), (1,)),
        ('product_is_0_in_64_bits', (1 << 32, 1 << 32), (1, 1)),
        ('product_is_4_in_64_bits', ((1 << 62) + 1, 4), (1, 1)),
        ('product_of_strides_wraps', (2, 2), (1 << 63, 1 << 63)),
        ('10_10_rows_of_stride_0', (10**10, 4), (0, 1)),
        ('10_10_of_stride_0', (10**10,), (0,)),
        ('2_31_thrice_of_stride_0', (1 << 31,) * 3, (0,) * 3),
        ('float', (4.0,), (1,)), ('string', ('4',), (1,)),
        ('none', (None,), (1,)), ('nested', ((4,),), (1,)),
        ('nested_2_40', (doubled(40),), (1,)),
        ('is_nested_2_40', doubled(40), (1,)),
        ('a_number', 4, (1,)), ('a_string', '4', (1,)),
        ('a_dict', dict_of((integer(4), integer(1))), (1,)),
        ('a_tensor', tensor(), (1,)),
        ('longer_than_stride', (2, 2), (1,)),
        ('shorter_than_stride', (4,), (1, 1)),
        ('without_stride', (4,), ()), ('stride_a_number', (4,), 1),
        ('stride_none', (4,), None), ('stride_negative', (4,), (-1,)),
        ('stride_2', (4,), (2,)), ('stride_2_62', (2,), (1 << 62,)),
        ('stride_2_63', (2,), (1 << 63,)), ('stride_float', (4,), (1.0,)),
        ('stride_string', (4,), ('1',)), ('last_one_beyond', (2, 2), (3, 2)),
        ('rows_overlap_and_end_beyond', (4, 4), (1, 1)),
        ('of_2000_dimensions_2', (2,) * 2000, (0,) * 2000),
    ):  # fmt: skip
        yield refused(f'tensor/shape_{label}', _at(0, shape, stride))
    yield harmless('tensor/shape_true', _at(0, (True,), (True,)))
    yield harmless('tensor/shape_a_list', _at(0, list_of(integer(4))))
    yield harmless(
        'tensor/shape_of_2000_dimensions_1', _at(0, (1,) * 2000, (1,) * 2000)
    )
    yield harmless(
        'tensor/shape_empty_with_stride_2_62',
        _at(0, (0, 2), (1 << 62, 1 << 62)),
    )
    yield harmless(
        'tensor/shape_empty_of_2_62_rows', _at(0, (1 << 62, 0), (1, 1))
    )
    yield harmless('tensor/shape_empty_beyond', _at(1 << 40, (0,), (1,)))
    yield read(
        'tensor/shape_1_with_stride_2_40',
        _at(0, (1, 4), (1 << 40, 1)),
        {'state_dict': {'w': torch.tensor([[1.0, 2.0, 3.0, 4.0]])}},
    )
    # --- its other parts
    for label, grad in (('string', 'yes'), ('number', 2), ('none', None)):
        yield harmless(f'tensor/grad_{label}', _at(0, (4,), (1,), grad))
    yield harmless(
        'tensor/grad_of_integers',
        _file(tensor(storage(4, kind='IntStorage'), 0, (4,), (1,), True)),
    )
    hook = call(
        name('collections', 'OrderedDict'),
        list_of(tuple_of(integer(0), text('hook'))),
    )
    for label, hooks in (
        ('filled', hook),
        ('a_dict', dict_of((integer(0), text('f')))),
        ('a_string', text('hook')),
        ('a_name', name('torch', 'Size')),
        ('nested_2_40', doubled(40)),
    ):
        yield either(
            f'tensor/hooks_{label}',
            _file(
                call(
                    name('torch._utils', '_rebuild_tensor_v2'),
                    storage(),
                    *map(plain, (0, (4,), (1,), False)),
                    hooks,
                )
            ),
        )
    yield either('tensor/hooks_none', _at(hooks=NONE))
    for label, meta in (
        ('unknown', dict_of((text('x'), integer(1)))),
        ('string', 'conj'),
        ('conj', dict_of((text('conj'), b'\x88'))),
        ('number', 1),
        ('nested_2_40', doubled(40)),
    ):
        yield harmless(
            f'tensor/metadata_{label}', _at(0, (4,), (1,), False, meta)
        )
    yield refused(
        'tensor/few_parts', _rebuilt('_rebuild_tensor_v2', storage())
    )
    yield refused('tensor/many_parts', _at(0, (4,), (1,), False, *range(50)))
    yield refused('tensor/of_a_tensor', _file(tensor(tensor())))
    yield refused(
        'tensor/old_outside',
        _rebuilt('_rebuild_tensor', storage(), 0, (5,), (1,)),
    )
    yield refused(
        'tensor/old_negative',
        _rebuilt('_rebuild_tensor', storage(), -1, (4,), (1,)),
    )
    yield read(
        'tensor/old', _rebuilt('_rebuild_tensor', storage(), 0, (4,), (1,))
    )
    yield from _third_version()
    yield from _other_kinds()


def _third_version() -> Iterator[Entry]:
    untyped = storage(16, kind=name('torch.storage', 'UntypedStorage'))

    def _typed(dtype: bytes, shape: tuple = (4,), stride: tuple = (1,)):
        return _file(
            tensor(
                untyped,
                0,
                shape,
                stride,
                False,
                dtype,
                rebuild='_rebuild_tensor_v3',
            )
        )

    yield read(
        'tensor3/honest',
        _typed(name('torch', 'uint32')),
        {
            'state_dict': {
                'w': torch.tensor([1.0, 2.0, 3.0, 4.0]).view(torch.uint32)
            }
        },
    )
    yield refused('tensor3/of_wider_numbers', _typed(name('torch', 'uint64')))
    yield refused('tensor3/of_doubles', _typed(name('torch', 'float64')))
    yield refused(
        'tensor3/outside', _typed(name('torch', 'uint16'), (9,), (1,))
    )
    yield refused('tensor3/quantized', _typed(name('torch', 'quint8')))
    for label, dtype in (
        ('string', text('torch.float32')),
        ('none', NONE),
        ('class', name('torch', 'FloatStorage')),
        ('number', integer(6)),
        ('tensor', name('torch', 'Tensor')),
        ('nested_2_40', doubled(40)),
        ('scheme', name('torch', 'per_tensor_affine')),
        ('function', name('torch', 'load')),
    ):
        yield refused(f'tensor3/type_{label}', _typed(dtype))
    yield harmless(
        'tensor3/of_a_typed_storage',
        _file(
            tensor(
                None,
                0,
                (4,),
                (1,),
                False,
                name('torch', 'float32'),
                rebuild='_rebuild_tensor_v3',
            )
        ),
    )
    yield refused(
        'tensor3/of_a_typed_storage_as_doubles',
        _file(
            tensor(
                None,
                0,
                (4,),
                (1,),
                False,
                name('torch', 'float64'),
                rebuild='_rebuild_tensor_v3',
            )
        ),
    )


def _other_kinds() -> Iterator[Entry]:
    """Yield files with tensors that are not dense, and with other objects."""
    floats, layout = (
        name('torch', 'float32'),
        call(
            name('torch.serialization', '_get_layout'),
            text('torch.sparse_coo'),
        ),
    )
    for label, shape in (
        ('small', (4,)),
        ('of_10_12', (10**12,)),
        ('negative', (-4,)),
    ):
        yield refused(
            f'tensor/meta_{label}',
            _rebuilt(
                '_rebuild_meta_tensor_no_storage', floats, shape, (1,), False
            ),
        )
    index = tensor(storage(1, '1', 'LongStorage'), 0, (1, 1), (1, 1))
    for label, value, shape in (
        ('outside', 10**9, (4,)),
        ('negative', -5, (4,)),
        ('of_10_18', 3, (10**18,)),
    ):
        pickled = checkpoint(
            call(
                name('torch._utils', '_rebuild_sparse_tensor'),
                layout,
                tuple_of(index, tensor(None, 0, (1,)), plain(shape), NONE),
            )
        )
        data = {'0': FLOATS, '1': struct.pack('<q', value)}
        yield refused(f'tensor/sparse_{label}', zipped(pickled, data))
    yield refused(
        'tensor/sparse_of_strings',
        _rebuilt('_rebuild_sparse_tensor', layout, ('a', 'b', 'c', 'd')),
    )
    scheme = name('torch', 'per_channel_affine')
    yield refused(
        'tensor/quantized_outside',
        _rebuilt(
            '_rebuild_qtensor',
            storage(16, kind='QUInt8Storage'),
            0,
            (99,),
            (1,),
            (name('torch', 'per_tensor_affine'), 1.0, 0),
            False,
            HOOKS,
        ),
    )
    yield refused(
        'tensor/quantized_with_few_scales',
        _rebuilt(
            '_rebuild_qtensor',
            storage(16, kind='QUInt8Storage'),
            0,
            (16, 1),
            (1, 1),
            (scheme, tensor(None, 0, (1,)), tensor(None, 0, (1,)), 0),
            False,
            HOOKS,
        ),
    )
    yield refused(
        'tensor/quantized_axis_99',
        _rebuilt(
            '_rebuild_qtensor',
            storage(16, kind='QUInt8Storage'),
            0,
            (4, 4),
            (4, 1),
            (scheme, tensor(), tensor(), 99),
            False,
            HOOKS,
        ),
    )
    yield refused(
        'tensor/nested',
        _rebuilt(
            '_rebuild_nested_tensor', tensor(), tensor(), tensor(), tensor()
        ),
    )
    yield refused(
        'tensor/subclass',
        _rebuilt(
            '_rebuild_wrapper_subclass',
            name('torch', 'Tensor'),
            floats,
            (10**6,),
            (1,),
            0,
            layout,
            text('cpu'),
            False,
        ),
    )
    yield refused(
        'tensor/of_another_type',
        _file(
            call(
                name('torch._tensor', '_rebuild_from_type_v2'),
                name('torch._utils', '_rebuild_tensor_v2'),
                name('collections', 'OrderedDict'),
                tuple_of(storage()),
                dict_of(),
            )
        ),
    )
    yield harmless(
        'tensor/with_attributes',
        _file(
            call(
                name('torch._tensor', '_rebuild_from_type_v2'),
                name('torch._utils', '_rebuild_tensor_v2'),
                name('torch', 'Tensor'),
                tuple_of(
                    storage(), *map(plain, (0, (4,), (1,), False)), HOOKS
                ),
                dict_of(
                    (text('data'), integer(1)), (text('__class__'), integer(1))
                ),
            )
        ),
    )
    for label, device in (('cpu', 'cpu'), ('cuda', 'cuda:0'), ('no', 'x')):
        yield refused(
            f'tensor/from_numpy_{label}',
            _rebuilt(
                '_rebuild_device_tensor_from_numpy', 'x', floats, device, False
            ),
        )
    # --- objects of uninitialized memory
    for label, cls in (
        ('tensor', name('torch', 'Tensor')),
        ('float_tensor', name('torch', 'FloatTensor')),
        ('untyped_storage', name('torch.storage', 'UntypedStorage')),
        ('typed_storage', name('torch.storage', 'TypedStorage')),
        ('parameter', name('torch.nn.parameter', 'Parameter')),
        ('float_storage', name('torch', 'FloatStorage')),
    ):
        yield refused(
            f'tensor/uninitialized_{label}', _file(call(cls, integer(100_000)))
        )
        yield refused(
            f'tensor/uninitialized_new_{label}',
            _file(new(cls, integer(100_000))),
        )
        yield refused(
            f'tensor/uninitialized_2_40_{label}',
            _file(call(cls, integer(1 << 40))),
        )
    # --- parameters
    for label, value in (
        ('string', text('w')),
        ('none', NONE),
        ('list', list_of()),
        ('storage', storage()),
        ('dict', dict_of()),
    ):
        yield refused(
            f'parameter/of_a_{label}',
            _rebuilt('_rebuild_parameter', value, True, HOOKS),
        )
    yield harmless(
        'parameter/of_integers',
        _rebuilt(
            '_rebuild_parameter',
            tensor(storage(4, kind='IntStorage')),
            True,
            HOOKS,
        ),
    )
    yield harmless(
        'parameter/of_a_parameter',
        _rebuilt(
            '_rebuild_parameter',
            call(
                name('torch._utils', '_rebuild_parameter'),
                tensor(),
                b'\x88',
                HOOKS,
            ),
            False,
            HOOKS,
        ),
    )
    yield harmless(
        'parameter/with_a_state',
        _rebuilt(
            '_rebuild_parameter_with_state',
            tensor(),
            False,
            HOOKS,
            dict_of((text('data'), text('x')), (text('grad'), text('y'))),
        ),
    )
    yield refused('parameter/few_parts', _rebuilt('_rebuild_parameter'))
