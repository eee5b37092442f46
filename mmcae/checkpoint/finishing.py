# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The last step of reading: records become tensors, stand-ins objects."""

import argparse
from collections import Counter
from collections.abc import Callable
from typing import Any

from mmcae.checkpoint.limits import MAX_DEPTH, MAX_OBJECTS
from mmcae.checkpoint.pickle_objects import Name, Stateful
from mmcae.checkpoint.printable import printable
from mmcae.checkpoint.stand_ins import Array, DType, History
from mmcae.checkpoint.tensors import StorageRecord, TensorRecord


class _Finisher:
    """Walks through the objects of a pickle, and visits each of them once."""

    def __init__(self, make_tensor: Callable[[TensorRecord], Any]):
        self._make_tensor = make_tensor
        # By id(): the object, the result, and how many objects and levels it
        # has. Keeping the object ensures that its id() is not used again.
        self._done: dict[int, tuple[Any, Any, int, int]] = {}
        self._being_visited: set[int] = set()
        self._count, self._height = 0, 0

    def __call__(self, obj: Any, depth: int = 0) -> Any:
        """Return the object without stand-ins; count objects and levels."""
        if type(obj) in (str, int, float, bool, bytes, type(None)):
            self._add(1, 0)
            return obj
        if id(obj) in self._done:
            _, result, count, height = self._done[id(obj)]
            self._add(count, height)
            return result
        if id(obj) in self._being_visited:
            raise ValueError('an object that contains itself')
        if depth > MAX_DEPTH:
            raise ValueError(f'more than {MAX_DEPTH} levels of containers')
        outer = self._count, self._height
        self._count, self._height = 1, 0
        self._being_visited.add(id(obj))
        result = self._convert(obj, depth + 1)
        self._being_visited.remove(id(obj))
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
            return obj  # these hold plain values only
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
        if isinstance(obj, StorageRecord):
            raise ValueError('a storage that belongs to no tensor')
        if isinstance(obj, Name):
            raise ValueError(f'the name {printable(obj.name)} as a value')
        state = getattr(obj, 'state', None)
        if isinstance(obj, Stateful) and type(state) is dict:
            self(state, depth)
        return obj


def finish(obj: Any, make_tensor: Callable[[TensorRecord], Any]) -> Any:
    """Replace records and stand-ins by tensors and the real objects.

    Args:
        obj: The result of the pickle machine. Dictionaries, lists and
            namespaces are changed in place.
        make_tensor: Makes a tensor from its record.

    Returns:
        The same object without stand-ins.

    Raises:
        ValueError: If it is nested too deeply, contains itself, or has too
            many objects for code that walks through it.
    """
    return _Finisher(make_tensor)(obj)
