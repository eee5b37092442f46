# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The allow list: the names that the pickle of a checkpoint may use.

The reader never imports or calls these names. It maps each of them to a
function of this package that checks its arguments and returns plain data, or
to a stand-in whose state a pickle may set.

Names that other packages registered with ``torch.serialization`` are not
allowed: mmengine registers ``builtins.getattr``, and with it a file can call
``eval``.
"""

import argparse
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

import torch

from mmcae.checkpoint import stand_ins
from mmcae.checkpoint.limits import MAX_NAME
from mmcae.checkpoint.pickle_objects import Name
from mmcae.checkpoint.printable import printable
from mmcae.checkpoint.tensors import TensorRecord, tensor_record, whole

# The storage classes of torch whose elements are plain numbers.
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
# Not every version of torch has all of them.
_DTYPES = (
    'bool', 'uint8', 'uint16', 'uint32', 'uint64', 'int8', 'int16', 'int32',
    'int64', 'float16', 'bfloat16', 'float32', 'float64', 'complex32',
    'complex64', 'complex128', 'float8_e4m3fn', 'float8_e4m3fnuz',
    'float8_e5m2', 'float8_e5m2fnuz', 'float8_e8m0fnu', 'float4_e2m1fn_x2',
)  # fmt: skip
_TENSOR_CLASSES = ('torch.Tensor', 'torch.nn.parameter.Parameter')


# --- Python ----------------------------------------------------------------


def _ordered_dict(*args: Any) -> OrderedDict:
    if not args:
        return OrderedDict()
    pairs = args[0]
    if len(args) > 1 or type(pairs) not in (list, tuple):
        raise ValueError('a dictionary that is not made from pairs')
    made = OrderedDict()
    for pair in pairs:
        if type(pair) not in (list, tuple) or len(pair) != 2:
            raise ValueError('a dictionary that is not made from pairs')
        if isinstance(pair[0], tuple):
            raise ValueError('a key that is a tuple')
        made[pair[0]] = pair[1]
    return made


def _counter(counts: Any) -> Counter:
    if type(counts) is not dict or not all(
        type(count) is int for count in counts.values()
    ):
        raise ValueError('a counter whose counts are not integers')
    return Counter(counts)


def _set(items: Any = ()) -> set:
    if type(items) not in (list, tuple):
        raise ValueError('a set that is not made from a list')
    if any(isinstance(item, tuple | list) for item in items):
        raise ValueError('a set that contains a list or a tuple')
    return set(items)


def _encode(text: Any = '', encoding: Any = 'latin1') -> bytes:
    # Pickles of protocol 2, which torch writes, store bytes as such a call.
    if type(text) is not str or encoding not in ('latin1', 'latin-1'):
        raise ValueError('text in another encoding than Latin-1')
    return text.encode('latin-1')


def _bytearray(*args: Any) -> bytearray:
    if len(args) == 1 and type(args[0]) is bytes:
        return bytearray(args[0])
    return bytearray(_encode(*args))


def _complex(real: Any, imaginary: Any) -> complex:
    if type(real) is not float or type(imaginary) is not float:
        raise ValueError('a complex number that is not made from floats')
    return complex(real, imaginary)


def _slice(*args: Any) -> slice:
    if len(args) != 3 or any(type(a) not in (int, type(None)) for a in args):
        raise ValueError('a slice that is not made from integers')
    return slice(*args)


def _path(kind: type) -> Callable[..., Any]:
    def make(*parts: Any) -> Any:
        if not all(type(part) is str for part in parts):
            raise ValueError('a path that is not made from text')
        if sum(len(part) for part in parts) > MAX_NAME:
            raise ValueError(f'a path of more than {MAX_NAME} characters')
        return kind(*parts)

    return make


# --- torch -----------------------------------------------------------------


def _size(sizes: Any) -> torch.Size:
    if type(sizes) not in (tuple, list) or len(sizes) > MAX_NAME:
        raise ValueError('a size that is not a tuple')
    return torch.Size(whole(n, 'a size of') for n in sizes)


def _device(kind: Any, index: Any = None) -> torch.device:
    if type(kind) is not str or type(index) not in (int, type(None)):
        raise ValueError('a device without a name')
    return torch.device(kind) if index is None else torch.device(kind, index)


def _layout(name: Any) -> torch.layout:
    if name != 'torch.strided':
        raise ValueError(f'tensors of layout {printable(name)}')
    return torch.strided


def _tensor_v3(*args: Any) -> TensorRecord:
    storage, offset, size, stride, grad, hooks, dtype, *rest = args
    if type(dtype) is not torch.dtype:
        raise ValueError('a tensor without a dtype')
    metadata = rest[0] if rest else None
    return tensor_record(
        storage, offset, size, stride, grad, hooks, metadata, dtype
    )


def _parameter(data: Any, requires_grad: Any = True, *_: Any) -> TensorRecord:
    if not isinstance(data, TensorRecord):
        raise ValueError('a parameter that is not a tensor')
    return replace(
        data, requires_grad=requires_grad is True, is_parameter=True
    )


def _from_type(function: Any, cls: Any, args: Any, _state: Any) -> Any:
    """Replace a tensor with attributes by the tensor without them."""
    rebuilt = isinstance(function, Name) and function.name.startswith(
        ('torch._utils._rebuild_tensor', 'torch._utils._rebuild_parameter')
    )
    plain = isinstance(cls, Name) and cls.name in _TENSOR_CLASSES
    if not rebuilt or not plain or type(args) is not tuple:
        raise ValueError('a tensor of a custom class')
    return function.call(*args)


def _table() -> dict[str, Any]:
    calls: dict[str, Callable[..., Any]] = {
        '_codecs.encode': _encode,
        'builtins.bytearray': _bytearray,
        'builtins.bytes': _encode,
        'builtins.complex': _complex,
        'builtins.getattr': stand_ins.history_method,
        'builtins.set': _set,
        'builtins.slice': _slice,
        'collections.Counter': _counter,
        'collections.OrderedDict': _ordered_dict,
        'numpy.dtype': stand_ins.DType,
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
        calls[f'numpy.{core}.multiarray._reconstruct'] = stand_ins.reconstruct
        calls[f'numpy.{core}.multiarray.scalar'] = stand_ins.scalar
        calls[f'numpy.{core}.numeric._frombuffer'] = stand_ins.from_buffer
    for module in ('pathlib', 'pathlib._local'):  # the latter: Python 3.13
        calls[f'{module}.PosixPath'] = _path(PurePosixPath)
        calls[f'{module}.PurePosixPath'] = _path(PurePosixPath)
        calls[f'{module}.WindowsPath'] = _path(PureWindowsPath)
        calls[f'{module}.PureWindowsPath'] = _path(PureWindowsPath)
    for name in [name for name in calls if name.startswith('builtins.')]:
        # Protocol 2 writes the name that the module has in Python 2.
        calls[name.replace('builtins', '__builtin__')] = calls[name]
    table: dict[str, Any] = {k: Name(k, call=v) for k, v in calls.items()}
    for name, new in (
        ('argparse.Namespace', argparse.Namespace),
        (stand_ins.HISTORY, stand_ins.History),
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


#: Allowed names, each with the `Name` or the value that replaces it.
ALLOWED = _table()
