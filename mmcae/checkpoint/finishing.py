# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The last step of reading: stand-ins become what they stand for."""

import argparse
from collections import Counter
from collections.abc import Callable
from typing import Any

from mmcae.checkpoint.limits import MAX_DEPTH, MAX_OBJECTS
from mmcae.checkpoint.pickle_machine import Name, Stateful
from mmcae.checkpoint.printable import printable
from mmcae.checkpoint.stand_ins import Array, DType, History
from mmcae.checkpoint.tensors import TensorRecord


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
