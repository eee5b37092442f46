# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Stand-ins for NumPy arrays and logs, which checkpoints hold too.

A pickle sets the state of a stand-in, which checks it. ``value`` then is the
real object.
"""

from typing import Any

import numpy as np
from mmengine.logging import HistoryBuffer

from mmcae.checkpoint.errors import UnknownNameError
from mmcae.checkpoint.pickle_objects import Name, Stateful
from mmcae.checkpoint.printable import printable
from mmcae.checkpoint.tensors import whole

HISTORY = 'mmengine.logging.history_buffer.HistoryBuffer'
_HISTORY_METHODS = ('min', 'max', 'current', 'mean')
_PLAIN_KINDS = 'biufcSU'
_MAX_CODE_POINT = 0x10FFFF  # of Unicode


class DType(Stateful):
    """Stand-in for ``numpy.dtype``: numbers and strings only, no fields.

    NumPy's own ``dtype.__setstate__`` accepts any flags and offsets. With
    them, a file could make NumPy use raw bytes as pointers to objects.
    """

    __slots__ = ('dtype',)

    def __init__(self, code: Any, *_: Any):
        if type(code) is not str or ',' in code or len(code) > 20:
            raise ValueError(f'an array of dtype {printable(code)}')
        self.dtype = np.dtype(code)
        if self.dtype.kind not in _PLAIN_KINDS or not self.dtype.itemsize:
            raise ValueError(f'an array of dtype {printable(code)}')

    def set_state(self, state: Any) -> None:
        """Set the byte order; other properties must be absent."""
        _version, order, *others = state[:5]
        if any(other is not None for other in others):
            raise ValueError('structured array types are not allowed')
        if order in ('<', '>'):
            self.dtype = self.dtype.newbyteorder(order)

    @property
    def value(self) -> np.dtype:
        """The real dtype."""
        return self.dtype


class Array(Stateful):
    """Stand-in for ``numpy.ndarray``."""

    __slots__ = ('value',)

    def __init__(self, value: np.ndarray | None = None) -> None:
        self.value = np.empty(0) if value is None else value

    def __len__(self) -> int:
        return self.value.nbytes

    def set_state(self, state: Any) -> None:
        """Set shape, dtype, memory order, and bytes."""
        _version, shape, dtype, fortran, data = state
        if type(data) is str:  # written by Python 2
            data = data.encode('latin-1')
        self.value = _checked_array(
            data, dtype, shape, 'F' if fortran else 'C'
        )


def _checked_array(
    data: Any, dtype: Any, shape: Any, order: Any
) -> np.ndarray:
    if type(dtype) is not DType or type(data) not in (bytes, bytearray):
        raise ValueError('an array without a plain dtype and bytes')
    if type(shape) is not tuple:
        raise ValueError('an array without a shape')
    shape = tuple(whole(n, 'an array with a side of') for n in shape)
    flat = np.frombuffer(data, dtype.dtype)
    kind, raw = dtype.dtype.kind, np.frombuffer(data, np.uint8)
    if kind == 'b' and (raw > 1).any():
        raise ValueError('an array of bool with other values')
    if (
        kind == 'U'
        and (flat.view(f'{dtype.dtype.byteorder}u4') > _MAX_CODE_POINT).any()
    ):
        raise ValueError('an array of text with invalid code points')
    if order == 'F':
        return flat.reshape(shape[::-1]).T.copy(order='F')
    return flat.reshape(shape).copy()


def scalar(dtype: Any, data: Any) -> Any:
    """Replace ``numpy.core.multiarray.scalar``."""
    if type(data) is str:
        data = data.encode('latin-1')
    array = _checked_array(data, dtype, (1,), 'C')
    return array[0]


def reconstruct(cls: Any, *_: Any) -> Array:
    """Replace ``numpy.core.multiarray._reconstruct``: an empty array."""
    if not isinstance(cls, Name) or cls.name != 'numpy.ndarray':
        raise ValueError('only plain arrays can be rebuilt')
    return Array()


def from_buffer(data: Any, dtype: Any, shape: Any, order: Any) -> Array:
    """Replace ``numpy.core.numeric._frombuffer``, used by protocol 5."""
    return Array(_checked_array(data, dtype, shape, order))


class History(Stateful):
    """Stand-in for mmengine's ``HistoryBuffer`` (the log of a scalar)."""

    __slots__ = ('_state',)

    def __init__(self) -> None:
        self._state: dict = {}

    def set_state(self, state: Any) -> None:
        """Keep the attributes of the buffer."""
        if type(state) is not dict:
            raise ValueError('a log without its attributes')
        self._state = state

    @property
    def value(self) -> HistoryBuffer:
        """A buffer with the logged numbers and with mmengine's methods."""
        length = whole(self._state.get('max_length'), 'a log of length')
        buffer = HistoryBuffer(max_length=length)
        for name in ('_log_history', '_count_history'):
            numbers = self._state.get(name)
            if not isinstance(numbers, Array) or numbers.value.ndim != 1:
                raise ValueError('a log that is not a list of numbers')
            if numbers.value.dtype.kind not in 'iuf':
                raise ValueError('a log of something else than numbers')
            setattr(buffer, name, numbers.value)
        return buffer


def history_method(owner: Any, name: Any) -> str:
    """Replace ``getattr``: only the lookups that mmengine's logs need."""
    if not isinstance(owner, Name) or owner.name != HISTORY:
        raise UnknownNameError('builtins.getattr')
    if name not in _HISTORY_METHODS:
        raise UnknownNameError('builtins.getattr')
    return name
