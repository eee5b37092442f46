# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The pickle machine: reads a pickle as a description of data.

Python's unpicklers do what a pickle says: they import modules, call functions
and set the state of any object. This machine

* knows only the opcodes that data needs,
* looks names up in a table instead of importing them, and
* fills only containers that it made itself.

It does not use torch's reader, so its checks are the same with every version
of torch.
"""

import argparse
import pickle
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from mmcae.checkpoint.errors import UnknownNameError
from mmcae.checkpoint.limits import MAX_NAME, MAX_OPCODES, MAX_TUPLE_KEYS
from mmcae.checkpoint.pickle_bytes import PickleBytes
from mmcae.checkpoint.pickle_objects import Name, Stateful, kind_of

_KEY_TYPES = (str, int, float, bool, bytes, type(None))


class PickleMachine:
    """Reads one pickle.

    Args:
        data: Bytes that begin with the pickle; more may follow.
        names: The names that the pickle may use: each is mapped to a `Name`,
            or to a plain value such as a dtype.
        persistent: Resolves torch's references to storages.
    """

    def __init__(
        self,
        data: bytes | memoryview,
        names: Mapping[str, Any],
        persistent: Callable[[Any], Any],
    ):
        self._bytes = PickleBytes(data)
        self._names = names
        self._persistent = persistent
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self._copied = 0
        self._tuple_keys = 0

    @property
    def position(self) -> int:
        """The number of bytes read so far."""
        return self._bytes.position

    def load(self) -> Any:
        """Read up to the end of the pickle.

        Returns:
            The object. :attr:`position` then points behind the pickle.

        Raises:
            UnknownNameError: If a name is not in the table.
            ValueError: If the pickle is damaged or exceeds a limit.
        """
        next_opcode, handler_of = self._bytes.opcode, _HANDLER_OF.get
        for _ in range(MAX_OPCODES):
            code = next_opcode()
            if code == pickle.STOP[0]:
                if len(self._stack) != 1 or self._marks:
                    raise ValueError('the pickle ends too early')
                return self._stack.pop()
            handler = handler_of(code)
            if handler is None:
                raise ValueError(
                    f'opcode {bytes([code])!r} is not needed for plain data'
                )
            handler(self)
        raise ValueError(f'more than {MAX_OPCODES} opcodes')

    # --- the stack ---------------------------------------------------------

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _pop(self) -> Any:
        if len(self._stack) <= (self._marks[-1] if self._marks else 0):
            raise ValueError('an opcode takes more than the stack has')
        return self._stack.pop()

    def _top(self, types: tuple[type, ...], what: str) -> Any:
        """Return the container that gets the next items.

        Its type must be one of ``types``; a subclass does not count.
        """
        value = self._pop()
        self._push(value)
        if type(value) not in types:
            raise ValueError(f'{what} of {kind_of(value)}')
        return value

    def _pop_mark(self) -> list[Any]:
        if not self._marks:
            raise ValueError('an opcode needs a mark that is not there')
        mark = self._marks.pop()
        items = self._stack[mark:]
        del self._stack[mark:]
        return items

    def _key(self, key: Any) -> Any:
        """Check a key of a dictionary or an item of a set."""
        if type(key) is tuple:
            self._tuple_keys += 1
            if self._tuple_keys > MAX_TUPLE_KEYS or len(key) > MAX_NAME:
                raise ValueError('too many keys that are tuples')
            for part in key:
                if type(part) not in _KEY_TYPES:
                    raise ValueError(f'a key with {kind_of(part)}')
        elif type(key) not in _KEY_TYPES:
            raise ValueError(f'{kind_of(key)} as a key')
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
            raise ValueError(
                f'a reference to object {index} before it is made'
            )
        self._push(self._memo[index])

    # --- names and objects -------------------------------------------------

    def _look_up(self, module: Any, name: Any) -> None:
        full = f'{module}.{name}'
        if type(module) is not str or type(name) is not str:
            raise ValueError('a name that is not text')
        if full not in self._names:
            raise UnknownNameError(full)
        self._push(self._names[full])

    def _stack_global(self) -> None:
        name, module = self._pop(), self._pop()
        self._look_up(module, name)

    def _reduce(self) -> None:
        args, function = self._pop(), self._pop()
        if not isinstance(function, Name):
            raise ValueError(f'a call of {kind_of(function)}')
        if function.call is None:
            raise UnknownNameError(function.name)
        if type(args) is not tuple:
            raise ValueError(f'a call with {kind_of(args)}')
        value = function.call(*args)
        self._count_copy(value)
        if isinstance(value, dict | set):
            for key in value:
                self._key(key)
        self._push(value)

    def _count_copy(self, value: Any) -> None:
        """Limit what calls copy: a short loop could fill the memory."""
        if isinstance(value, bytes | bytearray | dict | set | Stateful):
            self._copied += len(value)
            if self._copied > 4 * len(self._bytes):
                raise ValueError(
                    'calls that make copies of more than the file holds'
                )

    def _new(self) -> None:
        args, cls = self._pop(), self._pop()
        if not isinstance(cls, Name) or args != ():
            raise ValueError(f'a new object of {kind_of(cls)}')
        if cls.new is None:
            raise UnknownNameError(cls.name)
        self._push(cls.new())

    def _build(self) -> None:
        state = self._pop()
        target = self._pop()
        self._push(target)
        if isinstance(target, Stateful):
            target.set_state(state)
            self._count_copy(target)
        elif type(target) is OrderedDict and type(state) is dict:
            # torch stores the versions of modules as this attribute.
            if isinstance(state.get('_metadata'), dict):
                target._metadata = state['_metadata']  # type: ignore
        elif type(target) is argparse.Namespace and type(state) is dict:
            if not all(type(key) is str for key in state):
                raise ValueError('a namespace with keys that are not text')
            vars(target).update(state)
        else:
            raise ValueError(f'a state for {kind_of(target)}')


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
    version = m._bytes.number('<B')
    if version > pickle.HIGHEST_PROTOCOL:
        raise ValueError(f'pickle protocol {version}')


def _global(m: PickleMachine) -> None:
    module = m._bytes.line()
    m._look_up(module, m._bytes.line())


_HANDLERS: dict[bytes, Callable[[PickleMachine], Any]] = {
    pickle.PROTO: _protocol,
    pickle.FRAME: lambda m: m._bytes.number('<Q'),
    pickle.MARK: lambda m: m._marks.append(len(m._stack)),
    pickle.POP: lambda m: m._pop(),
    pickle.POP_MARK: lambda m: m._pop_mark(),
    pickle.NONE: lambda m: m._push(None),
    pickle.NEWTRUE: lambda m: m._push(True),
    pickle.NEWFALSE: lambda m: m._push(False),
    pickle.BININT: lambda m: m._push(m._bytes.number('<i')),
    pickle.BININT1: lambda m: m._push(m._bytes.number('<B')),
    pickle.BININT2: lambda m: m._push(m._bytes.number('<H')),
    pickle.LONG1: lambda m: m._push(m._bytes.long('<B')),
    pickle.LONG4: lambda m: m._push(m._bytes.long('<i')),
    pickle.BINFLOAT: lambda m: m._push(m._bytes.number('>d')),
    # Python 2 writes the names of tensors as such strings.
    pickle.BINSTRING: lambda m: m._push(m._bytes.text('<i')),
    pickle.SHORT_BINSTRING: lambda m: m._push(m._bytes.text('<B')),
    pickle.BINUNICODE: lambda m: m._push(m._bytes.text('<I')),
    pickle.SHORT_BINUNICODE: lambda m: m._push(m._bytes.text('<B')),
    pickle.BINUNICODE8: lambda m: m._push(m._bytes.text('<Q')),
    pickle.BINBYTES: lambda m: m._push(bytes(m._bytes.sized('<I'))),
    pickle.SHORT_BINBYTES: lambda m: m._push(bytes(m._bytes.sized('<B'))),
    pickle.BINBYTES8: lambda m: m._push(bytes(m._bytes.sized('<Q'))),
    pickle.BYTEARRAY8: lambda m: m._push(bytearray(m._bytes.sized('<Q'))),
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
    pickle.BINGET: lambda m: m._recall(m._bytes.number('<B')),
    pickle.LONG_BINGET: lambda m: m._recall(m._bytes.number('<I')),
    pickle.BINPUT: lambda m: m._memorize(m._bytes.number('<B')),
    pickle.LONG_BINPUT: lambda m: m._memorize(m._bytes.number('<I')),
    pickle.MEMOIZE: lambda m: m._memorize(len(m._memo)),
    pickle.GLOBAL: _global,
    pickle.STACK_GLOBAL: lambda m: m._stack_global(),
    pickle.REDUCE: lambda m: m._reduce(),
    pickle.NEWOBJ: lambda m: m._new(),
    pickle.BUILD: lambda m: m._build(),
    pickle.BINPERSID: lambda m: m._push(m._persistent(m._pop())),
}
_HANDLER_OF = {code[0]: handler for code, handler in _HANDLERS.items()}
