# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The names that a file of weights may use.

None of them is imported or called on behalf of a file. Each maps to a
function of this module that checks its arguments and returns plain data, or
to a stand-in that takes a state; `finish` replaces the stand-ins at the end.

Names that a process registered with ``torch.serialization`` do not count:
mmengine registers ``builtins.getattr``, through which a file reaches
``eval``.
"""

import argparse
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

from mmcae.checkpoint.errors import UnknownNameError, printable
from mmcae.checkpoint.limits import MAX_DEPTH, MAX_NAME, MAX_OBJECTS
from mmcae.checkpoint.pickle_machine import Name, Stateful
from mmcae.checkpoint.tensors import TensorRecord, tensor_record, whole

_HISTORY = 'mmengine.logging.history_buffer.HistoryBuffer'
_HISTORY_METHODS = ('min', 'max', 'current', 'mean')
_PLAIN_KINDS = 'biufcSU'
_LAST = 0x10FFFF  # of Unicode's characters
# Storage classes of torch whose elements are plain numbers.
_STORAGES = {
    'BFloat16Storage': torch.bfloat16,
    'BoolStorage': torch.bool,
    'ByteStorage': torch.uint8,
    'CharStorage': torch.int8,
    'ComplexDoubleStorage': torch.complex128,
    'ComplexFloatStorage': torch.complex64,
    'DoubleStorage': torch.float64,
    'FloatStorage': torch.float32,
    'HalfStorage': torch.float16,
    'IntStorage': torch.int32,
    'LongStorage': torch.int64,
    'ShortStorage': torch.int16,
    'UntypedStorage': torch.uint8,
}
_DTYPES = (
    'bool', 'uint8', 'uint16', 'uint32', 'uint64', 'int8', 'int16', 'int32',
    'int64', 'float16', 'bfloat16', 'float32', 'float64', 'complex32',
    'complex64', 'complex128', 'float8_e4m3fn', 'float8_e4m3fnuz',
    'float8_e5m2', 'float8_e5m2fnuz', 'float8_e8m0fnu',
)  # fmt: skip


# --- NumPy -----------------------------------------------------------------


class DType(Stateful):
    """Stand-in for ``numpy.dtype``: numbers and strings only, no fields.

    NumPy's own ``dtype.__setstate__`` takes a file's word for flags and
    offsets, with which raw bytes can be passed off as object pointers.
    """

    __slots__ = ('dtype',)

    def __init__(self, code: Any, *_: Any):
        if type(code) is not str or ',' in code or len(code) > 20:
            raise ValueError(f'array type {printable(code)}')
        self.dtype = np.dtype(code)
        if self.dtype.kind not in _PLAIN_KINDS or not self.dtype.itemsize:
            raise ValueError(f'array type {printable(code)}')

    def set_state(self, state: Any) -> None:
        """Take the byte order; other properties must be absent."""
        _version, order, *others = state[:5]
        if any(other is not None for other in others):
            raise ValueError('structured array types are not allowed')
        if order in ('<', '>'):
            self.dtype = self.dtype.newbyteorder(order)

    @property
    def value(self) -> np.dtype:
        """The type that it stands for."""
        return self.dtype


class Array(Stateful):
    """Stand-in for ``numpy.ndarray``."""

    __slots__ = ('value',)

    def __init__(self, value: np.ndarray | None = None) -> None:
        self.value = np.empty(0) if value is None else value

    def __len__(self) -> int:
        return self.value.nbytes

    def set_state(self, state: Any) -> None:
        """Take shape, type, order, and bytes."""
        _version, shape, dtype, fortran, data = state
        if type(data) is str:  # written by Python 2
            data = data.encode('latin-1')
        self.value = _array(data, dtype, shape, 'F' if fortran else 'C')


def _array(data: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    if type(dtype) is not DType or type(data) not in (bytes, bytearray):
        raise ValueError('array without a plain type and its bytes')
    if type(shape) is not tuple:
        raise ValueError('array without a shape')
    shape = tuple(whole(n, 'an array with a side of') for n in shape)
    flat = np.frombuffer(data, dtype.dtype)
    kind, raw = dtype.dtype.kind, np.frombuffer(data, np.uint8)
    if kind == 'b' and (raw > 1).any():
        raise ValueError('an array of bool with other values')
    if kind == 'U' and (flat.view(f'{dtype.dtype.byteorder}u4') > _LAST).any():
        raise ValueError('an array of text with numbers that are no letters')
    if order == 'F':
        return flat.reshape(shape[::-1]).T.copy(order='F')
    return flat.reshape(shape).copy()


def _scalar(dtype: Any, data: Any) -> Any:
    if type(data) is str:
        data = data.encode('latin-1')
    array = _array(data, dtype, (1,), 'C')
    return array[0]


def _reconstruct(cls: Any, *_: Any) -> Array:
    if not isinstance(cls, Name) or cls.name != 'numpy.ndarray':
        raise ValueError('only plain arrays can be rebuilt')
    return Array()


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any) -> Array:
    return Array(_array(data, dtype, shape, order))


# --- mmengine's logs -------------------------------------------------------


class History(Stateful):
    """Stand-in for mmengine's ``HistoryBuffer`` (the log of a scalar)."""

    __slots__ = ('_state',)

    def __init__(self) -> None:
        self._state: dict = {}

    def set_state(self, state: Any) -> None:
        """Take the buffer's attributes."""
        if type(state) is not dict:
            raise ValueError('a log without its attributes')
        self._state = state

    @property
    def value(self) -> HistoryBuffer:
        """A buffer with the logged numbers, and mmengine's own methods."""
        length = whole(self._state.get('max_length'), 'a log of length')
        buffer = HistoryBuffer(max_length=length)
        for name in ('_log_history', '_count_history'):
            numbers = self._state.get(name)
            if not isinstance(numbers, Array) or numbers.value.ndim != 1:
                raise ValueError('a log that is no list of numbers')
            if numbers.value.dtype.kind not in 'iuf':
                raise ValueError('a log of something else than numbers')
            setattr(buffer, name, numbers.value)
        return buffer


def _history_method(owner: Any, name: Any) -> str:
    """Serve what mmengine's logs use ``getattr`` for, and nothing else."""
    if not isinstance(owner, Name) or owner.name != _HISTORY:
        raise UnknownNameError('builtins.getattr')
    if name not in _HISTORY_METHODS:
        raise UnknownNameError('builtins.getattr')
    return name


# --- Python ----------------------------------------------------------------


def _ordered_dict(*args: Any) -> OrderedDict:
    if not args:
        return OrderedDict()
    pairs = args[0]
    if len(args) > 1 or type(pairs) not in (list, tuple):
        raise ValueError('a dictionary of something else than pairs')
    made = OrderedDict()
    for pair in pairs:
        if type(pair) not in (list, tuple) or len(pair) != 2:
            raise ValueError('a dictionary of something else than pairs')
        if isinstance(pair[0], tuple):
            raise ValueError('a key that is a tuple')
        made[pair[0]] = pair[1]
    return made


def _counter(counts: Any) -> Counter:
    if type(counts) is not dict or not all(
        type(count) is int for count in counts.values()
    ):
        raise ValueError('a counter without counts')
    return Counter(counts)


def _set(items: Any = ()) -> set:
    if type(items) not in (list, tuple):
        raise ValueError('a set of something else than a list')
    if any(isinstance(item, tuple | list) for item in items):
        raise ValueError('a set of lists')
    return set(items)


def _encode(text: Any = '', encoding: Any = 'latin1') -> bytes:
    # How protocol 2, which torch writes, spells bytes.
    if type(text) is not str or encoding not in ('latin1', 'latin-1'):
        raise ValueError('text in an encoding that is not Latin-1')
    return text.encode('latin-1')


def _bytearray(*args: Any) -> bytearray:
    if len(args) == 1 and type(args[0]) is bytes:
        return bytearray(args[0])
    return bytearray(_encode(*args))


def _complex(real: Any, imaginary: Any) -> complex:
    if type(real) is not float or type(imaginary) is not float:
        raise ValueError('a complex number of something else')
    return complex(real, imaginary)


def _slice(*args: Any) -> slice:
    if len(args) != 3 or any(type(a) not in (int, type(None)) for a in args):
        raise ValueError('a slice of something else than numbers')
    return slice(*args)


def _path(kind: type) -> Callable[..., Any]:
    def make(*parts: Any) -> Any:
        if not all(type(part) is str for part in parts):
            raise ValueError('a path of something else than text')
        return kind(*parts)

    return make


# --- torch -----------------------------------------------------------------


def _size(sizes: Any) -> torch.Size:
    if type(sizes) not in (tuple, list) or len(sizes) > MAX_NAME:
        raise ValueError('a size that is no tuple')
    return torch.Size(whole(n, 'a size of') for n in sizes)


def _device(kind: Any, index: Any = None) -> torch.device:
    if type(kind) is not str or type(index) not in (int, type(None)):
        raise ValueError('a device that is not named')
    return torch.device(kind) if index is None else torch.device(kind, index)


def _layout(name: Any) -> torch.layout:
    if name != 'torch.strided':
        raise ValueError(f'tensors of layout {printable(name)}')
    return torch.strided


def _tensor_v3(*args: Any) -> TensorRecord:
    storage, offset, size, stride, grad, hooks, dtype, *rest = args
    if type(dtype) is not torch.dtype:
        raise ValueError('a tensor without a type')
    metadata = rest[0] if rest else None
    return tensor_record(
        storage, offset, size, stride, grad, hooks, metadata, dtype
    )


def _parameter(data: Any, requires_grad: Any = True, *_: Any) -> TensorRecord:
    if not isinstance(data, TensorRecord):
        raise ValueError('a parameter that is no tensor')
    return replace(
        data, requires_grad=requires_grad is True, is_parameter=True
    )


def _from_type(function: Any, cls: Any, args: Any, _state: Any) -> Any:
    """A tensor with attributes: the tensor without them."""
    rebuilt = isinstance(function, Name) and function.name.startswith(
        ('torch._utils._rebuild_tensor', 'torch._utils._rebuild_parameter')
    )
    plain = isinstance(cls, Name) and cls.name in _TENSOR_CLASSES
    if not rebuilt or not plain or type(args) is not tuple:
        raise ValueError('a tensor of a class of its own')
    return function.call(*args)


_TENSOR_CLASSES = ('torch.Tensor', 'torch.nn.parameter.Parameter')


def _table() -> dict[str, Any]:
    calls: dict[str, Callable[..., Any]] = {
        '_codecs.encode': _encode,
        'builtins.bytearray': _bytearray,
        'builtins.bytes': _encode,
        'builtins.complex': _complex,
        'builtins.getattr': _history_method,
        'builtins.set': _set,
        'builtins.slice': _slice,
        'collections.Counter': _counter,
        'collections.OrderedDict': _ordered_dict,
        'numpy.dtype': DType,
        'torch.Size': _size,
        'torch.device': _device,
        'torch.serialization._get_layout': _layout,
        'torch._tensor._rebuild_from_type_v2': _from_type,
        'torch._utils._rebuild_parameter': _parameter,
        'torch._utils._rebuild_parameter_with_state': _parameter,
        'torch._utils._rebuild_tensor': tensor_record,
        'torch._utils._rebuild_tensor_v2': tensor_record,
        'torch._utils._rebuild_tensor_v3': _tensor_v3,
    }
    for core in ('core', '_core'):
        calls[f'numpy.{core}.multiarray._reconstruct'] = _reconstruct
        calls[f'numpy.{core}.multiarray.scalar'] = _scalar
        calls[f'numpy.{core}.numeric._frombuffer'] = _from_buffer
    for module in ('pathlib', 'pathlib._local'):  # Python 3.13 has the latter
        calls[f'{module}.PosixPath'] = _path(PurePosixPath)
        calls[f'{module}.PurePosixPath'] = _path(PurePosixPath)
        calls[f'{module}.WindowsPath'] = _path(PureWindowsPath)
        calls[f'{module}.PureWindowsPath'] = _path(PureWindowsPath)
    for name in [name for name in calls if name.startswith('builtins.')]:
        # The module's name in Python 2, which protocol 2 writes.
        calls[name.replace('builtins', '__builtin__')] = calls[name]
    table: dict[str, Any] = {k: Name(k, call=v) for k, v in calls.items()}
    for name, new in (
        ('argparse.Namespace', argparse.Namespace),
        (_HISTORY, History),
    ):
        table[name] = Name(name, new=new)
    for name in ('numpy.ndarray', *_TENSOR_CLASSES):
        table[name] = Name(name)
    for name, dtype in _STORAGES.items():
        for full in (f'torch.{name}', f'torch.storage.{name}'):
            table[full] = Name(full, dtype=dtype)
    for name in _DTYPES:
        if hasattr(torch, name):
            table[f'torch.{name}'] = getattr(torch, name)
    return table


#: What each name that a file of weights may use stands for.
ALLOWED = _table()


# --- the end ---------------------------------------------------------------


class _Finisher:
    """Walks what a pickle described, each object once."""

    def __init__(self, make_tensor: Callable[[TensorRecord], Any]):
        self._make_tensor = make_tensor
        # By identity: the result, how many objects, and how deep. The
        # first element keeps the object alive, so no identity returns.
        self._done: dict[int, tuple[Any, Any, int, int]] = {}
        self._open: set[int] = set()
        self._count, self._height = 0, 0

    def __call__(self, obj: Any, depth: int = 0) -> Any:
        """Return the object without stand-ins; add to count and height."""
        if type(obj) in (str, int, float, bool, bytes, type(None)):
            self._add(1, 0)
            return obj
        if id(obj) in self._done:
            _, result, count, height = self._done[id(obj)]
            self._add(count, height)
            return result
        if id(obj) in self._open:
            raise ValueError('an object that contains itself')
        if depth > MAX_DEPTH:
            raise ValueError(f'more than {MAX_DEPTH} levels')
        outer = self._count, self._height
        self._count, self._height = 1, 0
        self._open.add(id(obj))
        result = self._convert(obj, depth + 1)
        self._open.remove(id(obj))
        count, height = self._count, self._height + 1
        self._done[id(obj)] = obj, result, count, height
        self._count, self._height = outer
        self._add(count, height)
        return result

    def _add(self, count: int, height: int) -> None:
        self._count += count
        self._height = max(self._height, height)
        if self._count > MAX_OBJECTS or self._height > MAX_DEPTH:
            raise ValueError('objects nested or repeated too often')

    def _convert(self, obj: Any, depth: int) -> Any:
        if isinstance(obj, TensorRecord):
            return self._make_tensor(obj)
        if isinstance(obj, Array | DType | History):
            return obj.value
        if isinstance(obj, Counter | set | frozenset):
            return obj  # of plain values already
        if isinstance(obj, dict):
            for key, value in obj.items():
                obj[key] = self(value, depth)
            if hasattr(obj, '_metadata'):
                self(obj._metadata, depth)
            return obj
        if isinstance(obj, list):
            obj[:] = [self(value, depth) for value in obj]
            return obj
        if type(obj) is tuple:
            return tuple(self(value, depth) for value in obj)
        if isinstance(obj, argparse.Namespace):
            self(vars(obj), depth)
            return obj
        if isinstance(obj, Name):
            raise ValueError(f'the name {printable(obj.name)} as a value')
        state = getattr(obj, 'state', None)
        if isinstance(obj, Stateful) and type(state) is dict:
            self(state, depth)
        return obj


def finish(obj: Any, make_tensor: Callable[[TensorRecord], Any]) -> Any:
    """Replace the stand-ins in what a pickle described.

    Args:
        obj: What the machine returned. Dictionaries, lists and namespaces
            are changed in place.
        make_tensor: Makes a tensor of its record.

    Returns:
        The same object without stand-ins.

    Raises:
        ValueError: If it is nested too deeply, contains itself, or would be
            too large for whoever walks through it.
    """
    return _Finisher(make_tensor)(obj)
