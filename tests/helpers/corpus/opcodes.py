# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Pickles written by hand, opcode by opcode.

Python's pickler cannot write malformed pickles. Each function returns the
opcodes that push one value onto the stack of the unpickler.
"""

import struct
from typing import Any

START = b'\x80\x02'
NONE, TRUE, FALSE = b'N', b'\x88', b'\x89'


def text(value: str | bytes) -> bytes:
    """A string (BINUNICODE)."""
    data = value if isinstance(value, bytes) else value.encode()
    return b'X' + struct.pack('<I', len(data)) + data


def integer(value: int) -> bytes:
    """An integer (BININT, or LONG1 where it needs more bytes)."""
    if -(1 << 31) <= value < 1 << 31:
        return b'J' + struct.pack('<i', value)
    size = value.bit_length() // 8 + 1
    return (
        b'\x8a' + bytes([size]) + value.to_bytes(size, 'little', signed=True)
    )


def number(value: float) -> bytes:
    """A float (BINFLOAT)."""
    return b'G' + struct.pack('>d', value)


def small_bytes(value: bytes) -> bytes:
    """Bytes (SHORT_BINBYTES of protocol 3, or BINBYTES)."""
    if len(value) < 256:
        return b'C' + bytes([len(value)]) + value
    return b'B' + struct.pack('<I', len(value)) + value


def old_bytes(value: bytes) -> bytes:
    """Bytes as protocol 2 writes them: by a call of ``_codecs.encode``."""
    string = text(value.decode('latin1'))
    return call(name('_codecs', 'encode'), string, text('latin1'))


def tuple_of(*items: bytes) -> bytes:
    """A tuple."""
    return b'(' + b''.join(items) + b't'


def list_of(*items: bytes) -> bytes:
    """A list."""
    return b'](' + b''.join(items) + b'e'


def dict_of(*pairs: tuple[bytes, bytes]) -> bytes:
    """A dictionary."""
    return b'}(' + b''.join(key + value for key, value in pairs) + b'u'


def name(module: str, attribute: str) -> bytes:
    """A global name (GLOBAL)."""
    return f'c{module}\n{attribute}\n'.encode()


def call(function: bytes, *arguments: bytes) -> bytes:
    """A call (REDUCE)."""
    return function + tuple_of(*arguments) + b'R'


def new(cls: bytes, *arguments: bytes) -> bytes:
    """An object (NEWOBJ)."""
    return cls + tuple_of(*arguments) + b'\x81'


def build(target: bytes, state: bytes) -> bytes:
    """An object whose state is set (BUILD)."""
    return target + state + b'b'


def doubled(times: int) -> bytes:
    """Nested tuples, each with the previous one twice: 2**times leaves."""
    parts = [b')q\x00']
    for _ in range(times):
        parts.append(b'h\x00\x86q\x00')
    return b''.join(parts)


HOOKS = call(name('collections', 'OrderedDict'))


def plain(value: Any) -> bytes:
    """Opcodes of a tuple, a number, a bool, a string or None."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, tuple):
        return tuple_of(*map(plain, value))
    if isinstance(value, bool):
        return TRUE if value else FALSE
    if isinstance(value, int):
        return integer(value)
    if isinstance(value, float):
        return number(value)
    return NONE if value is None else text(value)


def storage(
    numel: Any = 4,
    key: Any = '0',
    kind: bytes | str = 'FloatStorage',
    location: Any = 'cpu',
    *more: Any,
) -> bytes:
    """A reference to a storage (BINPERSID)."""
    if isinstance(kind, str):
        kind = name('torch', kind)
    parts = (text('storage'), kind, plain(key), plain(location), plain(numel))
    return tuple_of(*parts, *map(plain, more)) + b'Q'


def tensor(
    of: bytes | None = None,
    offset: Any = 0,
    shape: Any = (4,),
    stride: Any = (1,),
    grad: Any = False,
    *more: Any,
    hooks: bytes = HOOKS,
    rebuild: str = '_rebuild_tensor_v2',
) -> bytes:
    """A tensor on a storage, as torch writes it."""
    return call(
        name('torch._utils', rebuild),
        storage() if of is None else of,
        *map(plain, (offset, shape, stride, grad)),
        hooks,
        *map(plain, more),
    )


def checkpoint(value: bytes, before: bytes = b'') -> bytes:
    """A whole pickle of ``{'state_dict': {'w': value}}``."""
    inner = dict_of((text('w'), value))
    return START + before + dict_of((text('state_dict'), inner)) + b'.'
