# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Read the tensors of a pickled DALL-E module without running anything.

OpenAI published the tokenizer as whole module objects saved by torch. Such
a file names classes and functions and asks for them to be called. Here each
name that such a file needs maps to a record of our own, every other name is
refused, and only the records' tensors are looked at. Neither torch's loader
nor the named classes take part.
"""

import io
import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from mmcae.utils.decoding import (
    UnreadableCheckpointError,
    UnsafeCheckpointError,
)

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_DTYPES = {
    'DoubleStorage': torch.float64,
    'FloatStorage': torch.float32,
    'HalfStorage': torch.float16,
    'BFloat16Storage': torch.bfloat16,
    'LongStorage': torch.int64,
    'IntStorage': torch.int32,
}


class _Module:
    """Stand-in for any module: keeps the state it is given, inert."""

    __slots__ = ('state',)
    state: dict


@dataclass(frozen=True)
class _StorageType:
    dtype: torch.dtype


@dataclass(frozen=True)
class _Storage:
    dtype: torch.dtype
    key: str
    numel: int
    offset: int = 0


@dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    size: tuple
    stride: tuple


def _rebuild_tensor(
    storage: _Storage, offset: int, size: tuple, stride: tuple, *_: Any
) -> _Tensor:
    return _Tensor(storage, offset, size, stride)


def _rebuild_parameter(data: _Tensor, *_: Any) -> _Tensor:
    return data


def _nothing(*_: Any) -> None:
    return None


_MODULES = (
    'dall_e.encoder.Encoder',
    'dall_e.encoder.EncoderBlock',
    'dall_e.decoder.Decoder',
    'dall_e.decoder.DecoderBlock',
    'dall_e.utils.Conv2d',
    'torch.nn.modules.container.Sequential',
    'torch.nn.modules.activation.ReLU',
    'torch.nn.modules.linear.Identity',
    'torch.nn.modules.pooling.MaxPool2d',
    'torch.nn.modules.upsampling.Upsample',
)
_NAMES: dict[str, Any] = {
    **dict.fromkeys(_MODULES, _Module),
    **{f'torch.{k}': _StorageType(v) for k, v in _DTYPES.items()},
    'collections.OrderedDict': OrderedDict,
    'builtins.set': _nothing,
    '__builtin__.set': _nothing,
    'torch.device': _nothing,
    'torch._utils._rebuild_tensor': _rebuild_tensor,
    'torch._utils._rebuild_tensor_v2': _rebuild_tensor,
    'torch._utils._rebuild_parameter': _rebuild_parameter,
}


# Python's unpickler, which the type stubs do not fully describe.
_PythonUnpickler: Any = pickle._Unpickler  # type: ignore[attr-defined]


class _Unpickler(_PythonUnpickler):
    """Unpickler that resolves the names above, and no other.

    Python's version rather than C's, for BUILD can be narrowed there: a
    file may fill a module, not set attributes of our own classes.
    """

    dispatch = {
        code: function
        for code, function in _PythonUnpickler.dispatch.items()
        if bytes([code]) not in (pickle.EXT1, pickle.EXT2, pickle.EXT4)
    }

    def find_class(self, module: str, name: str) -> Any:
        """Resolve a name without importing anything."""
        full = f'{module}.{name}'
        if full not in _NAMES:
            raise UnsafeCheckpointError(full)
        return _NAMES[full]

    def persistent_load(self, pid: Any) -> Any:
        """Resolve torch's references to storages and to module classes."""
        if isinstance(pid, tuple) and len(pid) > 1:
            if pid[0] == 'module' and pid[1] is _Module:
                return _Module
            if pid[0] == 'storage' and isinstance(pid[1], _StorageType):
                _, kind, key, _location, numel, *view = pid
                offset = 0
                if view and view[0] is not None:
                    _, offset, numel = view[0]
                return _Storage(kind.dtype, str(key), int(numel), int(offset))
        raise pickle.UnpicklingError(f'unknown persistent id {pid!r:.60}')

    def load_build(self) -> None:
        """Give a module its state; ignore attributes of dictionaries."""
        state = self.stack.pop()
        target = self.stack[-1]
        if type(target) is _Module:
            target.state = dict(state)
        elif type(target) is not OrderedDict:
            raise UnsafeCheckpointError(f'changing {target!r:.60}')

    dispatch[pickle.BUILD[0]] = load_build


def read_module_pickle(path: str | os.PathLike) -> dict[str, Tensor]:
    """Read the state dict of a pickled DALL-E encoder or decoder.

    Args:
        path (str | PathLike): File written by ``torch.save(module, path)``,
            in the zip or in the older format.

    Returns:
        dict[str, Tensor]: Names and tensors, as ``module.state_dict()``.

    Raises:
        FileNotFoundError: If there is no such file.
        UnsafeCheckpointError: If it names anything but what a DALL-E module
            consists of. Nothing in it was executed.
        UnreadableCheckpointError: If it is damaged or of another kind.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise FileNotFoundError(f'{file} can not be found.')
    content = file.read_bytes()
    try:
        read = _read_zip if content[:2] == b'PK' else _read_legacy
        module, fetch = read(content)
        return dict(_tensors(module, fetch))
    except UnsafeCheckpointError as error:
        raise UnsafeCheckpointError(
            f'{file} is refused because it calls for {error}, which no '
            'DALL-E encoder or decoder contains; nothing was executed.'
        ) from None
    except Exception as error:
        # A damaged pickle fails in any of a dozen ways.
        reason = (str(error).splitlines() or [''])[0]
        raise UnreadableCheckpointError(
            f'{file} ({len(content)} bytes) is damaged or not a DALL-E '
            f'module saved by torch ({type(error).__name__}: {reason}).'
        ) from None


Fetch = Callable[[_Storage], bytes]


def _read_zip(content: bytes) -> tuple[Any, Fetch]:
    archive = zipfile.ZipFile(io.BytesIO(content))
    names = [n for n in archive.namelist() if n.endswith('/data.pkl')]
    if len(names) != 1:
        raise ValueError('no single data.pkl inside')
    folder = names[0][: -len('data.pkl')]
    for info in archive.infolist():
        if info.compress_type != zipfile.ZIP_STORED:
            raise ValueError('compressed entries, which torch never writes')
    if f'{folder}byteorder' in archive.namelist():
        order = archive.read(f'{folder}byteorder')
        if order != b'little':
            raise ValueError(f'byte order {order!r}')
    module = _Unpickler(io.BytesIO(archive.read(names[0]))).load()
    return module, lambda s: archive.read(f'{folder}data/{s.key}')


def _read_legacy(content: bytes) -> tuple[Any, Fetch]:
    stream: BinaryIO = io.BytesIO(content)
    magic, _protocol, _system = (_Unpickler(stream).load() for _ in range(3))
    if magic != _LEGACY_MAGIC:
        raise ValueError('not a file of torch.save')
    module = _Unpickler(stream).load()
    keys = _Unpickler(stream).load()
    dtypes = {s.key: s.dtype for s in _storages(module)}
    found = {}
    for key in map(str, keys):
        numel = int.from_bytes(stream.read(8), 'little', signed=True)
        if key not in dtypes or numel < 0:
            raise ValueError(f'storage {key} of {numel} elements')
        found[key] = stream.read(numel * dtypes[key].itemsize)
    return module, lambda storage: found[storage.key]


def _walk(module: Any, prefix: str = '') -> list[tuple[str, _Tensor]]:
    """List a module's tensors in the order of its state dict."""
    if not isinstance(module, _Module):
        raise ValueError(f'{prefix or "the object"} is not a module')
    if prefix.count('.') > 16:
        raise ValueError('modules nested too deeply')
    found = []
    for group in ('_parameters', '_buffers'):
        for name, value in (module.state.get(group) or {}).items():
            if isinstance(value, _Tensor):
                found.append((f'{prefix}{name}', value))
            elif value is not None:
                raise ValueError(f'{prefix}{name} is not a tensor')
    for name, child in (module.state.get('_modules') or {}).items():
        if child is not None:
            found += _walk(child, f'{prefix}{name}.')
    return found


def _storages(module: Any) -> list[_Storage]:
    return [tensor.storage for _, tensor in _walk(module)]


def _tensors(module: Any, fetch: Fetch) -> list[tuple[str, Tensor]]:
    return [(name, _build(tensor, fetch)) for name, tensor in _walk(module)]


def _build(spec: _Tensor, fetch: Fetch) -> Tensor:
    """Make the tensor, after checking that it lies inside its storage."""
    storage = spec.storage
    size = tuple(int(n) for n in spec.size)
    stride = tuple(int(n) for n in spec.stride)
    offset = int(spec.offset) + storage.offset
    dense = prod(size)
    last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
    data = bytearray(fetch(storage))
    room = len(data) // storage.dtype.itemsize
    if min((*size, *stride, offset), default=0) < 0 or dense > room:
        raise ValueError(f'a tensor of shape {size} in {room} elements')
    if dense == 0:
        return torch.empty(size, dtype=storage.dtype)
    if last >= room:
        raise ValueError(f'a tensor of shape {size} in {room} elements')
    flat = torch.frombuffer(data, dtype=storage.dtype)
    return flat.as_strided(size, stride, offset).clone()
