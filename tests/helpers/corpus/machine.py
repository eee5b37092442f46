# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Files whose pickles misuse opcodes, names and limits."""

import struct
from collections.abc import Iterator

import torch

from .entry import VALUES, Entry, either, harmless, refused
from .opcodes import (
    HOOKS,
    NONE,
    START,
    build,
    call,
    checkpoint,
    dict_of,
    doubled,
    integer,
    list_of,
    name,
    new,
    old_bytes,
    small_bytes,
    storage,
    tensor,
    text,
    tuple_of,
)
from .zip_writer import zipped

ONE = integer(1)
PAIR = text('k') + ONE
ORDERED = name('collections', 'OrderedDict')
COUNTER = name('collections', 'Counter')
NAMESPACE = name('argparse', 'Namespace')


def _file(value: bytes, before: bytes = b'') -> bytes:
    return zipped(checkpoint(value, before))


def _raw(opcodes: bytes) -> bytes:
    return zipped(opcodes)


def machine() -> Iterator[Entry]:
    """Yield all files of this kind."""
    yield from _targets()
    yield from _memo_and_stack()
    yield from _depth_and_size()
    yield from _lengths()
    yield from _calls()


def _targets() -> Iterator[Entry]:
    """Yield files that put values into the wrong objects."""
    ends = {'list': list_of(integer(0)), 'tuple': tuple_of(ONE), 'none': NONE,
            'tensor': tensor(), 'string': text('abc'), 'number': ONE,
            'class': ORDERED, 'function': name('torch._utils',
                                               '_rebuild_tensor_v2'),
            'storage_class': name('torch', 'FloatStorage'),
            'size': call(name('torch', 'Size'), list_of(ONE)),
            'namespace': call(NAMESPACE)}  # fmt: skip
    for label, target in ends.items():
        yield refused(
            f'setitem/on_{label}', _file(target + integer(0) + ONE + b's')
        )
        yield refused(
            f'setitems/on_{label}',
            _file(target + b'(' + integer(0) + ONE + b'u'),
        )
    for label, target in {**ends, 'dict': dict_of(), 'ordered': HOOKS}.items():
        if label != 'list':
            yield refused(f'append/on_{label}', _file(target + ONE + b'a'))
            yield refused(
                f'appends/on_{label}', _file(target + b'(' + ONE + ONE + b'e')
            )
    states = {
        'dict': dict_of((text('x'), ONE)),
        'none': NONE,
        'text': text('x'),
        'pair': tuple_of(
            dict_of((text('__dict__'), ONE)), dict_of((text('append'), ONE))
        ),
    }
    for label, target in {**ends, 'dict': dict_of()}.items():
        if label in ('tensor', 'namespace'):
            continue
        for what, state in states.items():
            yield refused(
                f'build/{label}_with_{what}', _file(build(target, state))
            )
    for attribute in (
        '__class__',
        '__dict__',
        'data',
        'grad',
        '_backward_hooks',
        'is_leaf',
        'nosuch',
    ):
        yield refused(
            f'build/tensor_with_{attribute}',
            _file(build(tensor(), dict_of((text(attribute), text('x'))))),
        )
    yield refused(
        'build/tensor_with_a_tuple',
        _file(
            build(tensor(), tuple_of(tensor(), text('cpu'), NONE, NONE, NONE))
        ),
    )
    for attribute in (
        '__class__',
        '__dict__',
        'items',
        '__init__',
        '__getattribute__',
        '__reduce__',
        'get',
        'keys',
    ):
        yield harmless(
            f'build/ordered_with_{attribute}',
            _file(build(HOOKS, dict_of((text(attribute), text('x'))))),
        )
        yield harmless(
            f'build/namespace_with_{attribute}',
            _file(
                build(new(NAMESPACE), dict_of((text(attribute), text('x'))))
            ),
        )
    for label, state in (
        ('number', ONE),
        ('list', list_of(ONE)),
        ('key_a_number', dict_of((ONE, ONE))),
    ):
        yield refused(
            f'build/namespace_with_{label}',
            _file(build(new(NAMESPACE), state)),
        )
    for label, key in (
        ('list', list_of()),
        ('dict', dict_of()),
        ('tuple_of_a_list', tuple_of(list_of())),
    ):
        yield refused(f'setitem/key_is_a_{label}', _file(dict_of((key, ONE))))
    yield harmless('setitem/key_is_a_tensor', _file(dict_of((tensor(), ONE))))
    yield harmless(
        'setitem/key_nested_2_40', _file(dict_of((doubled(40), ONE)))
    )
    yield harmless(
        'setitem/two_keys_nested_2_40',
        _file(dict_of((doubled(40), ONE), (doubled(40), ONE))),
    )
    yield refused('setitem/odd_count', _file(b'}(' + PAIR + ONE + b'u'))
    collide = b''.join(
        integer(number * ((1 << 61) - 1)) + NONE for number in range(50_000)
    )
    yield harmless('setitem/keys_that_collide', _file(b'}(' + collide + b'u'))


def _memo_and_stack() -> Iterator[Entry]:
    four = struct.pack('<I', 1 << 31)
    yield refused('memo/get_unknown', _file(b'h\x07'))
    yield refused('memo/get_unknown_long', _file(b'j' + four))
    yield refused('memo/get_unknown_text', _file(b'g999\n'))
    yield refused('memo/get_negative_text', _file(b'g-1\n'))
    yield harmless('memo/put_2_31', _file(ONE + b'r' + four))
    yield harmless('memo/put_2_32', _file(ONE + b'r\xff\xff\xff\xff'))
    yield harmless('memo/put_text_2_31', _file(ONE + b'p2147483648\n'))
    yield refused('memo/put_text_negative', _file(ONE + b'p-5\n'))
    yield refused('memo/put_text_is_no_number', _file(ONE + b'pabc\n'))
    yield refused('memo/put_on_empty_stack', _raw(START + b'q\x00}.'))
    yield refused('memo/memoize_on_empty_stack', _raw(b'\x80\x04\x94}.'))
    yield refused('stack/stop_at_once', _raw(START + b'.'))
    yield refused(
        'stack/stop_missing', _raw(START + dict_of((text('k'), ONE)))
    )
    yield refused('stack/nothing', _raw(b''))
    yield refused('stack/only_a_start', _raw(START))
    yield refused('stack/stop_inside_of_a_mark', _raw(START + b'}(.'))
    yield harmless('stack/two_values_left', _raw(START + b'N}.'))
    yield harmless(
        'stack/opcodes_after_the_stop',
        _raw(checkpoint(tensor()) + b'cos\nsystem\n(S"true"\ntR.'),
    )
    for label, opcodes in (
        ('pop', b'0'), ('pop_twice', b'N00'), ('dup', b'2'), ('pop_mark',
        b'1'), ('tuple1', b'\x85'), ('tuple2', b'N\x86'), ('tuple3',
        b'NN\x87'), ('tuple', b't'), ('list', b'l'), ('dict', b'd'),
        ('reduce', b'R'), ('reduce_alone', b')R'), ('build', b'b'),
        ('build_alone', b'}b'), ('setitem', b's'), ('setitem_alone', b'}Ns'),
        ('setitems', b'u'), ('setitems_alone', b'(u'), ('append', b'a'),
        ('appends', b'e'), ('appends_alone', b'(e'), ('newobj', b'\x81'),
        ('newobj_ex', b'\x92'), ('obj', b'o'), ('obj_alone', b'(o'),
        ('persid', b'Q'), ('additems', b'\x90'), ('frozenset', b'\x91'),
        ('stack_global', b'\x93'), ('next_buffer', b'\x97'),
        ('readonly_buffer', b'\x98'),
    ):  # fmt: skip
        yield refused(
            f'stack/underflow_{label}', _raw(START + opcodes + b'}.')
        )
    yield refused('stack/mark_popped_by_tuple2', _file(b'(\x86'))
    yield refused('stack/mark_as_value', _raw(START + b'}X\x01\0\0\0a(s.'))
    yield refused(
        'stack/a_million_marks', _raw(START + b'(' * 1_000_000 + b'}.')
    )
    yield refused(
        'large/10_million_marks',
        lambda: _raw(START + b'(' * 10_000_000 + b'}.'),
    )
    for code in (b'\x00', b'\x7f', b'\x99', b'\xff', b'P', b'F', b'\x96'):
        yield refused(f'stack/opcode_{code.hex()}', _file(code))
    for version in (1, 6, 77, 255):
        yield harmless(
            f'stack/protocol_{version}',
            _raw(bytes([0x80, version]) + checkpoint(tensor())[2:]),
        )
    yield harmless(
        'stack/protocol_said_100000_times',
        _raw(START * 100_000 + checkpoint(tensor())),
    )


def _depth_and_size() -> Iterator[Entry]:
    deep = 100_000
    for label, opcodes in (
        ('tuples', b')' + b'\x85' * deep),
        ('lists', b']' * deep + b'a' * (deep - 1)),
        ('dicts', b'}' + (text('k') + b'}') * deep + b's' * deep),
        ('marks_and_tuples', b'(' * deep + b't' * deep),
        ('marks_and_lists', b'(' * deep + b'l' * deep),
    ):
        yield refused(f'depth/100000_{label}', _file(opcodes))
    yield refused(
        'depth/100000_lists_in_a_meta',
        zipped(
            START
            + dict_of(
                (text('state_dict'), dict_of((text('w'), tensor()))),
                (text('meta'), b']' * deep + b'a' * (deep - 1)),
            )
            + b'.'
        ),
    )
    yield harmless('depth/tuples_2_40', _file(doubled(40)))
    yield harmless('depth/tuples_2_40_by_dup', _file(b')' + b'2\x86' * 40))
    yield harmless(
        'depth/tuples_2_40_with_a_tensor',
        _file(tensor() + b'q\x01' + b'h\x01\x86q\x01' * 40),
    )
    lists = b']q\x00' + b'](h\x00h\x00eq\x00' * 40
    yield harmless('depth/lists_2_40', _file(lists))
    yield harmless('depth/list_in_itself', _file(b']q\x00h\x00a'))
    yield harmless(
        'depth/dict_in_itself', _file(b'}q\x00' + text('w') + b'h\x00s')
    )
    yield harmless(
        'depth/whole_in_itself',
        _raw(START + b'}q\x00' + text('state_dict') + b'h\x00s.'),
    )
    yield harmless('depth/tuple_in_its_list', _file(b']q\x00h\x00\x85a'))
    yield refused(
        'large/5_million_dicts', lambda: _file(b'](' + b'}' * 5_000_000 + b'e')
    )
    yield refused(
        'large/3_million_sets',
        lambda: _raw(
            b'\x80\x04' + checkpoint(b'](' + b'\x8f' * 3_000_000 + b'e')[2:]
        ),
    )
    yield harmless(
        'large/10_million_nones', lambda: _file(b'N0' * 10_000_000 + NONE)
    )
    yield harmless(
        'large/3_million_gets',
        lambda: _file(b'Nq\x00](' + b'h\x00' * 3_000_000 + b'e'),
    )
    yield harmless(
        'large/3_million_puts',
        lambda: _file(
            NONE
            + b''.join(b'r' + struct.pack('<I', n) for n in range(3_000_000))
        ),
    )
    yield harmless(
        'large/20_mb_of_text', lambda: _file(text(b'x' * 20_000_000))
    )
    yield refused(
        'size/bytearray_of_1_gb',
        _file(call(name('builtins', 'bytearray'), integer(1 << 30))),
    )
    yield refused(
        'size/path_of_1_gb',
        _file(
            text(b'x' * 1_000_000)
            + b'q\x000'
            + name('pathlib', 'PosixPath')
            + b'('
            + b'h\x00' * 1000
            + b'tR'
        ),
    )
    doubling = (
        name('_codecs', 'encode')
        + b'q\x010'
        + small_bytes(b'x' * 100)
        + b'q\x000'
        + (b'h\x01h\x00' + text('hex_codec') + b'\x86Rq\x000') * 26
        + b'h\x00'
    )
    yield refused(
        'size/codec_doubles_26_times',
        _raw(b'\x80\x03' + checkpoint(doubling)[2:]),
    )


def _lengths() -> Iterator[Entry]:
    """Yield files with wrong lengths of strings, bytes and frames."""
    for label, opcodes in (
        ('long1', b'\x8a\xff\x01'),
        ('long4', b'\x8b\xff\xff\xff\x7f\x01'),
        ('long4_negative', b'\x8b\xff\xff\xff\xff\x01'),
        ('unicode', b'X\xff\xff\xff\x7fabc'),
        ('unicode8_2_62', b'\x8d' + struct.pack('<Q', 1 << 62)),
        ('unicode8_2_64', b'\x8d' + b'\xff' * 8),
        ('bytes', b'B\xff\xff\xff\x7fabc'),
        ('bytes8_2_33', b'\x8e' + struct.pack('<Q', 1 << 33)),
        ('bytes8_2_63', b'\x8e' + struct.pack('<Q', 1 << 63)),
        ('bytearray8_2_33', b'\x96' + struct.pack('<Q', 1 << 33)),
        ('bytearray8_2_63', b'\x96' + struct.pack('<Q', 1 << 63)),
        ('string', b'T\xff\xff\xff\x7fabc'),
        ('string_negative', b'T\xff\xff\xff\xffabc'),
        ('short_string', b'U\xffabc'),
        ('short_bytes', b'C\xffabc'),
    ):
        yield refused(
            f'length/{label}',
            _raw(b'\x80\x05' + dict_of((text('state_dict'), opcodes)) + b'.'),
        )
    whole = checkpoint(tensor())[2:]
    for label, size in (
        ('longer', 1 << 40),
        ('2_64', (1 << 64) - 1),
        ('shorter', 5),
        ('0', 0),
    ):
        frame = b'\x95' + struct.pack('<Q', size)
        yield harmless(
            f'length/frame_{label}', _raw(b'\x80\x04' + frame + whole)
        )
    for label, opcodes in (
        ('text_of_a_number', b'Iabc\n'), ('text_of_a_long', b'L12x\n'),
        ('text_of_a_float', b'Fnone\n'), ('text_without_end', b'S"abc'),
        ('text_without_quotes', b'Sabc\n'), ('escape_cut', b'S"\\x"\n'),
        ('raw_unicode_cut', b'V\\u12\n'),
        ('number_of_a_million_digits', b'I' + b'9' * 1_000_000 + b'\n'),
        ('long_of_a_million_digits', b'L' + b'9' * 1_000_000 + b'L\n'),
        ('name_without_end', b'ctorch'), ('name_of_1_mb',
                                          b'c' + b'a' * 1_000_000 + b'\nb\n'),
        ('name_with_escapes', b'c\x1b[2Jos\nsystem\n'),
        ('name_not_unicode', b'c\xff\xfe\nb\n'), ('utf8_cut', text(b'\xc3')),
        ('utf8_wrong', text(b'\xff\xff')),
    ):  # fmt: skip
        yield refused(f'length/{label}', _file(opcodes))
    yield harmless('length/surrogates', _file(text(b'\xed\xa0\x80')))
    yield harmless(
        'length/long_of_1_mb',
        _file(b'\x8b' + struct.pack('<i', 1_000_000) + b'\x7f' * 1_000_000),
    )
    yield refused(
        'length/key_with_escapes_and_no_tensor',
        zipped(
            START
            + dict_of(
                (
                    text('state_dict'),
                    dict_of(
                        (
                            text('\x1b[2J\x1b]0;evil\x07\nINFO all is well'),
                            NONE,
                        ),
                        (text('w'), b'h\x55'),
                    ),
                )
            )
            + b'.'
        ),
    )


def _calls() -> Iterator[Entry]:
    """Yield files that call allowed names with wrong arguments."""
    yield refused('call/inst', _raw(b'(S"true"\nios\nsystem\n.'))
    yield refused(
        'call/inst_of_an_allowed', _file(b'(' + ONE + b'itorch\nSize\n')
    )
    yield refused('call/obj', _raw(START + b'(cos\nsystem\nS"true"\no.'))
    yield refused(
        'call/obj_of_an_allowed',
        _file(b'(' + name('torch', 'Size') + ONE + b'o'),
    )
    yield refused(
        'call/newobj_of_a_function',
        _file(new(name('torch._utils', '_rebuild_tensor_v2'), ONE)),
    )
    yield refused('call/newobj_of_a_value', _file(new(text('x'), ONE)))
    yield refused(
        'call/newobj_ex',
        _raw(
            b'\x80\x04'
            + checkpoint(
                ORDERED + tuple_of() + dict_of((text('a'), ONE)) + b'\x92'
            )[2:]
        ),
    )
    yield refused('call/of_a_value', _file(call(text('x'), ONE)))
    yield refused('call/of_a_tensor', _file(call(tensor(), ONE)))
    yield refused(
        'call/of_a_class_with_no_tuple',
        _file(name('torch', 'Size') + ONE + b'R'),
    )
    yield refused(
        'call/of_a_type_of_numbers', _file(call(name('torch', 'float32'), ONE))
    )
    yield refused(
        'call/of_a_storage_class',
        _file(call(name('torch', 'FloatStorage'), list_of(ONE))),
    )
    for label, arguments in (
        ('number', (ONE,)),
        ('two', (list_of(), list_of())),
        ('odd_pairs', (list_of(tuple_of(ONE)),)),
        ('text', (text('abc'),)),
        ('list_keys', (list_of(tuple_of(list_of(), ONE)),)),
    ):
        yield refused(
            f'call/ordered_with_{label}', _file(call(ORDERED, *arguments))
        )
    yield harmless('call/counter_of_text', _file(call(COUNTER, text('abca'))))
    yield refused('call/counter_of_a_number', _file(call(COUNTER, ONE)))
    size = name('torch', 'Size')
    for label, argument in (
        ('text', text('abc')),
        ('floats', list_of(b'G' + bytes(8))),
        ('2_64', list_of(integer(1 << 64))),
        ('nested', doubled(40)),
        ('number', ONE),
    ):
        yield refused(f'call/size_of_{label}', _file(call(size, argument)))
    yield harmless(
        'call/size_negative', _file(call(size, list_of(integer(-1))))
    )
    device = name('torch', 'device')
    for label, argument in (
        ('no_such', text('x' * 1000)),
        ('number_2_62', integer(1 << 62)),
        ('none', NONE),
        ('escapes', text('\x1b[2J\n')),
        ('cuda_2_40', text('cuda:1099511627776')),
    ):
        yield refused(f'call/device_of_{label}', _file(call(device, argument)))
    encode = name('_codecs', 'encode')
    for label, arguments in (
        ('no_codec', (text('abc'), text('no_such_codec'))),
        ('codec_goes_up', (text('abc'), text('../../evil'))),
        ('codec_with_a_zero', (text('abc'), text('latin1\0'))),
        ('number', (ONE, text('latin1'))),
        (
            'errors',
            (text('\u20ac'), text('latin1'), text('xmlcharrefreplace')),
        ),
        ('not_latin', (text('\u20ac'), text('latin1'))),
        ('zip', (small_bytes(b'a'), text('zip_codec'))),
        ('rot13', (text('abc'), text('rot13'))),
    ):
        yield refused(
            f'call/encode_{label}',
            _raw(b'\x80\x03' + checkpoint(call(encode, *arguments))[2:]),
        )
    for label, arguments in (('text', (text('a'),)), ('four', (ONE,) * 4)):
        yield refused(
            f'call/complex_of_{label}',
            _file(call(name('builtins', 'complex'), *arguments)),
        )
    yield harmless(
        'call/set_of_text', _file(call(name('builtins', 'set'), text('abc')))
    )
    yield refused(
        'call/set_of_lists',
        _file(call(name('builtins', 'set'), list_of(list_of()))),
    )
    yield refused(
        'call/bytearray_of_a_number',
        _file(call(name('builtins', 'bytearray'), integer(100_000))),
    )
    yield refused(
        'call/slice_of_five',
        _file(call(name('builtins', 'slice'), *[ONE] * 5)),
    )
    yield refused(
        'call/path_of_numbers', _file(call(name('pathlib', 'PosixPath'), ONE))
    )
    yield harmless(
        'call/path_with_a_zero',
        _file(call(name('pathlib', 'PosixPath'), text('/etc/passwd\0'))),
    )
    yield refused(
        'call/namespace_with_arguments', _file(call(NAMESPACE, text('a')))
    )
    yield refused(
        'call/layout_of_a_number',
        _file(call(name('torch.serialization', '_get_layout'), ONE)),
    )
    yield either(
        'call/old_bytes_beside',
        zipped(
            START
            + dict_of(
                (text('state_dict'), dict_of((text('w'), tensor()))),
                (text('note'), old_bytes(b'\x00\xff')),
            )
            + b'.'
        ),
        {'state_dict': {'w': torch.tensor(VALUES)}, 'note': b'\x00\xff'},
    )
    for code, size in ((b'\x82', 1), (b'\x83', 2), (b'\x84', 4)):
        yield refused(
            f'call/extension_{code.hex()}',
            _file(code + b'\x01' + bytes(size - 1)),
        )
        yield refused(
            f'call/extension_{code.hex()}_0', _file(code + bytes(size))
        )
    yield refused('call/persistent_text', _file(b'P0\n'))
    yield refused('call/storage_alone', _raw(START + storage() + b'.'))
    yield refused('call/storage_as_value', _file(storage()))
    yield refused(
        'call/storage_as_key',
        _raw(START + dict_of((storage(), text('w'))) + b'.'),
    )
    yield refused(
        'call/buffers',
        _raw(b'\x80\x05' + dict_of((text('state_dict'), b'\x97\x98')) + b'.'),
    )
    for module, attribute in (
        ('torch', 'load'), ('torch', 'from_file'), ('torch.storage',
        '_load_from_bytes'), ('torch.hub', 'load'), ('torch.jit', 'load'),
        ('torch', 'nosuch'), ('torch.serialization', 'load'),
        ('builtins', 'eval'), ('builtins', 'getattr'), ('__builtin__', 'eval'),
        ('copy_reg', '_reconstructor'), ('torch._utils',
        '_rebuild_device_tensor_from_cpu_tensor'), ('torch._utils',
        '_import_dotted_name'), ('torch.ops', 'aten'), ('torch._C',
        '_from_file'),
        ('numpy', 'load'), ('numpy', 'memmap'), ('torch', 'Size.__class__'),
        ('collections', 'OrderedDict.__init__'), ('', ''), ('torch.', ''),
        ('torch', '_utils._rebuild_tensor_v2'), ('os', 'environ'),
        ('torch.multiprocessing.reductions', 'rebuild_storage_fd'),
    ):  # fmt: skip
        label = f'{module}.{attribute}'
        yield refused(f'name/{label}', _file(name(module, attribute)))
        yield refused(
            f'name/call_{label}',
            _file(call(name(module, attribute), text('x'))),
        )
    yield refused(
        'name/dotted_by_stack_global',
        _raw(
            b'\x80\x04'
            + checkpoint(
                text('collections') + text('OrderedDict.fromkeys') + b'\x93'
            )[2:]
        ),
    )
    yield refused(
        'name/stack_global_of_numbers',
        _raw(b'\x80\x04' + checkpoint(ONE + ONE + b'\x93')[2:]),
    )
