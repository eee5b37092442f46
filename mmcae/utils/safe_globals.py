# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The allow-list with which foreign pickles are read.

It replaces whatever the process has registered with torch, because a list
is as weak as its weakest entry: mmengine's own contains ``builtins.getattr``,
through which a crafted file reaches ``eval``. Here every non-torch name in a
file maps to a stand-in that only records plain data; :func:`finish` turns
the records into arrays and log buffers once the file has been read.
"""

import argparse
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

_LOCK = threading.RLock()
_HISTORY_METHODS = ('min', 'max', 'current', 'mean')
_PLAIN_KINDS = 'biufcSU'


class _DType:
    """Stand-in for ``numpy.dtype``: numbers and strings only, no fields.

    NumPy's own ``dtype.__setstate__`` takes a file's word for flags and
    offsets, with which raw bytes can be passed off as object pointers.
    """

    def __init__(self, code: str, align: bool = False, copy: bool = True):
        if not isinstance(code, str) or ',' in code:
            raise ValueError(f'array type {code!r} is not a plain one')
        self.dtype = np.dtype(code)
        if self.dtype.kind not in _PLAIN_KINDS:
            raise ValueError(f'array type {code!r} is not a plain one')

    def __setstate__(self, state: tuple) -> None:
        _version, order, subdtype, names, fields = state[:5]
        if subdtype is not None or names is not None or fields is not None:
            raise ValueError('structured array types are not allowed')
        if order in ('<', '>'):
            self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """Stand-in for ``numpy.ndarray``."""

    def __init__(self) -> None:
        self.value = np.empty(0)

    def __setstate__(self, state: tuple) -> None:
        _version, shape, dtype, fortran, data = state
        if not isinstance(dtype, _DType) or not isinstance(data, bytes):
            raise ValueError('array without a plain type and its bytes')
        flat = np.frombuffer(data, dtype.dtype)
        shape = tuple(int(n) for n in shape)
        self.value = (
            flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)
        ).copy()


class _History:
    """Stand-in for mmengine's ``HistoryBuffer`` (the log of a scalar)."""

    def __init__(self) -> None:
        self.state: dict = {}

    def __setstate__(self, state: dict) -> None:
        self.state = dict(state)

    def restore(self) -> HistoryBuffer:
        buffer = HistoryBuffer(max_length=int(self.state['max_length']))
        for name in ('_log_history', '_count_history'):
            setattr(buffer, name, np.asarray(_finish(self.state[name], {})))
        return buffer


def _reconstruct(cls: type, shape: tuple, code: bytes) -> _Array:
    if cls is not _Array:
        raise ValueError('only plain arrays can be rebuilt')
    return _Array()


def _scalar(dtype: _DType, data: bytes) -> Any:
    if not isinstance(dtype, _DType) or not isinstance(data, bytes):
        raise ValueError('scalar without a plain type and its bytes')
    return np.frombuffer(data, dtype.dtype, count=1)[0]


def _get_history_method(owner: type, name: str) -> str:
    """Serve what mmengine's logs use ``getattr`` for, and nothing else."""
    if owner is not _History or name not in _HISTORY_METHODS:
        raise ValueError('the file calls getattr')
    return name


ALLOWED: list[Any] = [
    (argparse.Namespace, 'argparse.Namespace'),
    (slice, 'builtins.slice'),
    (PurePosixPath, 'pathlib.PosixPath'),
    (PureWindowsPath, 'pathlib.WindowsPath'),
    (_get_history_method, 'builtins.getattr'),
    (_History, 'mmengine.logging.history_buffer.HistoryBuffer'),
    (_DType, 'numpy.dtype'),
    (_Array, 'numpy.ndarray'),
    *((_reconstruct, f'numpy.{core}.multiarray._reconstruct')
      for core in ('core', '_core')),
    *((_scalar, f'numpy.{core}.multiarray.scalar')
      for core in ('core', '_core')),
]  # fmt: skip


@contextmanager
def only_allowed() -> Iterator[None]:
    """Swap torch's list of user globals for :data:`ALLOWED`.

    One thread at a time; the former list is restored on leaving.
    """
    with _LOCK:
        former = torch.serialization.get_safe_globals()
        torch.serialization.clear_safe_globals()
        try:
            torch.serialization.add_safe_globals(list(ALLOWED))
            yield
        finally:
            torch.serialization.clear_safe_globals()
            torch.serialization.add_safe_globals(former)


def finish(obj: Any) -> Any:
    """Replace the stand-ins in a loaded object by what they stand for.

    Args:
        obj (Any): What the restricted unpickler returned. Dictionaries,
            lists and namespaces are changed in place.

    Returns:
        Any: The same object without stand-ins.
    """
    return _finish(obj, {})


def _finish(obj: Any, seen: dict[int, Any]) -> Any:
    if isinstance(obj, _Array):
        return obj.value
    if isinstance(obj, _DType):
        return obj.dtype
    if isinstance(obj, _History):
        return obj.restore()
    if id(obj) in seen:
        return obj
    if isinstance(obj, dict):
        seen[id(obj)] = obj
        for key, value in list(obj.items()):
            obj[key] = _finish(value, seen)
    elif isinstance(obj, list):
        seen[id(obj)] = obj
        obj[:] = [_finish(value, seen) for value in obj]
    elif type(obj) is tuple:
        return tuple(_finish(value, seen) for value in obj)
    elif isinstance(obj, argparse.Namespace):
        seen[id(obj)] = obj
        _finish(vars(obj), seen)
    return obj
