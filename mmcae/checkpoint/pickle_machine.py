# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""A pickle read as a description of data.

Python's unpicklers do what a pickle says: they import, call, and fill any
object. This one knows the opcodes that data needs, looks names up in a table
instead of importing them, and fills nothing but the containers that it made.
It does not depend on which checks a version of torch has.
"""

import argparse
import pickle
import re
import struct
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mmcae.checkpoint.errors import UnknownNameError
from mmcae.checkpoint.limits import (
    MAX_NAME,
    MAX_OPCODES,
    MAX_TUPLE_KEYS,
    MAX_WIDE_TEXT,
)
from mmcae.checkpoint.printable import printable

# The first byte of every UTF-8 character beyond Latin-1.
_WIDE = re.compile(rb'[\xc4-\xff]')
_PLAIN_KEYS = (str, int, float, bool, bytes, type(None))


@dataclass(frozen=True, eq=False)
class Name:
    """A name that a pickle may use, and what stands for it.

    Attributes:
        name: Module and name, such as ``collections.OrderedDict``.
        call: What a call of it gives; None if it may not be called.
        new: What an empty object of it is; None if there are none.
        dtype: Of the elements, if it is a class of storages.
    """

    name: str
    call: Callable[..., Any] | None = None
    new: Callable[[], Any] | None = None
    dtype: Any = None


class Stateful:
    """An object that a pickle may give a state; its length is in bytes."""

    __slots__ = ()

    def __len__(self) -> int:
        return 0

    def set_state(self, state: Any) -> None:
        """Take the state, after checking it."""
        raise NotImplementedError


class PickleMachine:
    """Reads one pickle.

    Args:
        data: Bytes that begin with the pickle.
        names: What each name that may occur stands for: a `Name`, or a
            value that needs no call.
        persistent: Resolves torch's references to storages.
    """

    def __init__(
        self,
        data: bytes | memoryview,
        names: Mapping[str, Any],
        persistent: Callable[[Any], Any],
    ):
        self._data = memoryview(data)
        self._names = names
        self._persistent = persistent
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self._wide = 0
        self._made = 0
        self._tuple_keys = 0
        self.position = 0

    def load(self) -> Any:
        """Read up to the pickle's end.

        Returns:
            The object; :attr:`position` is then the place after it.

        Raises:
            UnknownNameError: If a name is not in the table.
            ValueError: If the pickle is damaged or asks for too much.
        """
        data, dispatch = self._data, _DISPATCH
        for _ in range(MAX_OPCODES):
            if self.position >= len(data):
                raise ValueError('a pickle without its end')
            code = data[self.position]
            self.position += 1
            if code == pickle.STOP[0]:
                if len(self._stack) != 1 or self._marks:
                    raise ValueError('a pickle with an end too early')
                return self._stack.pop()
            handler = dispatch.get(code)
            if handler is None:
                raise ValueError(f'{bytes([code])!r} is no part of plain data')
            handler(self)
        raise ValueError(f'more than {MAX_OPCODES} opcodes')

    # --- bytes -------------------------------------------------------------

    def _take(self, size: int) -> memoryview:
        end = self.position + size
        if size < 0 or end > len(self._data):
            raise ValueError('a pickle without its end')
        part = self._data[self.position : end]
        self.position = end
        return part

    def _number(self, form: str) -> int:
        return struct.unpack(form, self._take(struct.calcsize(form)))[0]

    def _sized(self, form: str) -> memoryview:
        return self._take(self._number(form))

    def _line(self) -> str:
        part = bytes(self._data[self.position : self.position + MAX_NAME])
        end = part.find(b'\n')
        if end < 0:
            raise ValueError(f'a name of more than {MAX_NAME} letters')
        self.position += end + 1
        return part[:end].decode()

    def _text(self, part: memoryview) -> str:
        if _WIDE.search(part):
            self._wide += len(part)
            if self._wide > MAX_WIDE_TEXT:
                raise ValueError('too much text beyond Latin-1')
        return str(part, 'utf-8', 'surrogatepass')

    # --- the stack ---------------------------------------------------------

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _pop(self) -> Any:
        if len(self._stack) <= (self._marks[-1] if self._marks else 0):
            raise ValueError('a pickle that takes more than it has')
        return self._stack.pop()

    def _top(self, types: tuple[type, ...], what: str) -> Any:
        """The object that the next items go into; exactly of these types."""
        value = self._pop()
        self._push(value)
        if type(value) not in types:
            raise ValueError(f'{what} of {_kind(value)}')
        return value

    def _pop_mark(self) -> list[Any]:
        if not self._marks:
            raise ValueError('a pickle without a mark')
        mark = self._marks.pop()
        items = self._stack[mark:]
        del self._stack[mark:]
        return items

    def _key(self, key: Any) -> Any:
        if type(key) is tuple:
            self._tuple_keys += 1
            if self._tuple_keys > MAX_TUPLE_KEYS or len(key) > MAX_NAME:
                raise ValueError('too many keys that are tuples')
            for part in key:
                if type(part) not in _PLAIN_KEYS:
                    raise ValueError(f'a key with {_kind(part)}')
        elif type(key) not in _PLAIN_KEYS:
            raise ValueError(f'{_kind(key)} as a key')
        if type(key) is int and abs(key) >= 1 << 63:
            raise ValueError(f'a key of {key.bit_length()} bits')
        return key

    def _fill(self, target: dict, items: list[Any]) -> None:
        if len(items) % 2:
            raise ValueError('a key without a value')
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[self._key(key)] = value

    def _memorize(self, index: int) -> None:
        value = self._pop()
        self._push(value)
        self._memo[index] = value

    def _recall(self, index: int) -> None:
        if index not in self._memo:
            raise ValueError(f'a reference to object {index}, not there yet')
        self._push(self._memo[index])

    # --- names and objects -------------------------------------------------

    def _look_up(self, module: Any, name: Any) -> None:
        full = f'{module}.{name}'
        if type(module) is not str or type(name) is not str:
            raise ValueError('a name that is not text')
        if full not in self._names:
            raise UnknownNameError(full)
        self._push(self._names[full])

    def _two_names(self) -> None:
        name, module = self._pop(), self._pop()
        self._look_up(module, name)

    def _reduce(self) -> None:
        args, function = self._pop(), self._pop()
        if not isinstance(function, Name):
            raise ValueError(f'a call of {_kind(function)}')
        if function.call is None:
            raise UnknownNameError(function.name)
        if type(args) is not tuple:
            raise ValueError(f'a call with {_kind(args)}')
        value = function.call(*args)
        self._charge(value)
        if isinstance(value, dict | set):
            for key in value:
                self._key(key)
        self._push(value)

    def _charge(self, value: Any) -> None:
        """Count what was copied: a file must not repeat it without end."""
        if isinstance(value, bytes | bytearray | dict | set | Stateful):
            self._made += len(value)
            if self._made > 4 * len(self._data):
                raise ValueError('copies of more than the file holds')

    def _new(self) -> None:
        args, cls = self._pop(), self._pop()
        if not isinstance(cls, Name) or args != ():
            raise ValueError(f'a new object of {_kind(cls)}')
        if cls.new is None:
            raise UnknownNameError(cls.name)
        self._push(cls.new())

    def _build(self) -> None:
        state = self._pop()
        target = self._pop()
        self._push(target)
        if isinstance(target, Stateful):
            target.set_state(state)
            self._charge(target)
        elif type(target) is OrderedDict and type(state) is dict:
            # torch hangs a module's versions on its state dict.
            if isinstance(state.get('_metadata'), dict):
                target._metadata = state['_metadata']  # type: ignore
        elif type(target) is argparse.Namespace and type(state) is dict:
            if not all(type(key) is str for key in state):
                raise ValueError('a namespace with names that are not text')
            vars(target).update(state)
        else:
            raise ValueError(f'a state for {_kind(target)}')


def _kind(value: Any) -> str:
    """Say what an object is: its name in the file, or its type."""
    if isinstance(value, Name):
        return printable(value.name)
    return f'a {type(value).__name__}'


def _append(m: PickleMachine) -> None:
    value = m._pop()
    m._top((list,), 'an item').append(value)


def _appends(m: PickleMachine) -> None:
    items = m._pop_mark()
    m._top((list,), 'items').extend(items)


def _set_item(m: PickleMachine) -> None:
    value, key = m._pop(), m._pop()
    m._fill(m._top((dict, OrderedDict), 'an entry'), [key, value])


def _set_items(m: PickleMachine) -> None:
    items = m._pop_mark()
    m._fill(m._top((dict, OrderedDict), 'entries'), items)


def _add_items(m: PickleMachine) -> None:
    items = [m._key(key) for key in m._pop_mark()]
    m._top((set,), 'items').update(items)


def _frozen_set(m: PickleMachine) -> None:
    m._push(frozenset(m._key(key) for key in m._pop_mark()))


def _dict(m: PickleMachine) -> None:
    made: dict = {}
    m._fill(made, m._pop_mark())
    m._push(made)


def _tuple(count: int) -> Callable[[PickleMachine], None]:
    def push(m: PickleMachine) -> None:
        items = [m._pop() for _ in range(count)]
        m._push(tuple(items[::-1]))

    return push


def _protocol(m: PickleMachine) -> None:
    version = m._number('<B')
    if version > pickle.HIGHEST_PROTOCOL:
        raise ValueError(f'pickle protocol {version}')


def _long(part: memoryview) -> int:
    return int.from_bytes(part, 'little', signed=True)


def _global(m: PickleMachine) -> None:
    module = m._line()
    m._look_up(module, m._line())


_HANDLERS: dict[bytes, Callable[[PickleMachine], Any]] = {
    pickle.PROTO: _protocol,
    pickle.FRAME: lambda m: m._number('<Q'),
    pickle.MARK: lambda m: m._marks.append(len(m._stack)),
    pickle.POP: lambda m: m._pop(),
    pickle.POP_MARK: lambda m: m._pop_mark(),
    pickle.NONE: lambda m: m._push(None),
    pickle.NEWTRUE: lambda m: m._push(True),
    pickle.NEWFALSE: lambda m: m._push(False),
    pickle.BININT: lambda m: m._push(m._number('<i')),
    pickle.BININT1: lambda m: m._push(m._number('<B')),
    pickle.BININT2: lambda m: m._push(m._number('<H')),
    pickle.LONG1: lambda m: m._push(_long(m._sized('<B'))),
    pickle.LONG4: lambda m: m._push(_long(m._sized('<i'))),
    pickle.BINFLOAT: lambda m: m._push(m._number('>d')),
    # Text of Python 2, where names of tensors are such strings.
    pickle.BINSTRING: lambda m: m._push(m._text(m._sized('<i'))),
    pickle.SHORT_BINSTRING: lambda m: m._push(m._text(m._sized('<B'))),
    pickle.BINUNICODE: lambda m: m._push(m._text(m._sized('<I'))),
    pickle.SHORT_BINUNICODE: lambda m: m._push(m._text(m._sized('<B'))),
    pickle.BINUNICODE8: lambda m: m._push(m._text(m._sized('<Q'))),
    pickle.BINBYTES: lambda m: m._push(bytes(m._sized('<I'))),
    pickle.SHORT_BINBYTES: lambda m: m._push(bytes(m._sized('<B'))),
    pickle.BINBYTES8: lambda m: m._push(bytes(m._sized('<Q'))),
    pickle.BYTEARRAY8: lambda m: m._push(bytearray(m._sized('<Q'))),
    pickle.EMPTY_DICT: lambda m: m._push({}),
    pickle.EMPTY_LIST: lambda m: m._push([]),
    pickle.EMPTY_SET: lambda m: m._push(set()),
    pickle.EMPTY_TUPLE: lambda m: m._push(()),
    pickle.TUPLE: lambda m: m._push(tuple(m._pop_mark())),
    pickle.TUPLE1: _tuple(1),
    pickle.TUPLE2: _tuple(2),
    pickle.TUPLE3: _tuple(3),
    pickle.LIST: lambda m: m._push(m._pop_mark()),
    pickle.DICT: _dict,
    pickle.FROZENSET: _frozen_set,
    pickle.APPEND: _append,
    pickle.APPENDS: _appends,
    pickle.SETITEM: _set_item,
    pickle.SETITEMS: _set_items,
    pickle.ADDITEMS: _add_items,
    pickle.BINGET: lambda m: m._recall(m._number('<B')),
    pickle.LONG_BINGET: lambda m: m._recall(m._number('<I')),
    pickle.BINPUT: lambda m: m._memorize(m._number('<B')),
    pickle.LONG_BINPUT: lambda m: m._memorize(m._number('<I')),
    pickle.MEMOIZE: lambda m: m._memorize(len(m._memo)),
    pickle.GLOBAL: _global,
    pickle.STACK_GLOBAL: lambda m: m._two_names(),
    pickle.REDUCE: lambda m: m._reduce(),
    pickle.NEWOBJ: lambda m: m._new(),
    pickle.BUILD: lambda m: m._build(),
    pickle.BINPERSID: lambda m: m._push(m._persistent(m._pop())),
}
_DISPATCH = {code[0]: handler for code, handler in _HANDLERS.items()}
