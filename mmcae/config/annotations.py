# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""What the arguments of a class must be, read from their annotations."""

import inspect
import math
import types
import typing
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from mmcae.config.kinds import (
    DICT,
    FLAG,
    LIST,
    NOTHING,
    Kind,
    exactly,
    several,
)

#: Packages whose annotations say exactly what the code accepts.
_EXACT_PACKAGES = ('mmcae',)

_ANYTHING = Kind('anything', lambda value: True)
_WHOLE = Kind(
    'a whole number',
    lambda value: isinstance(value, int) and not isinstance(value, bool),
)
_NUMBER = Kind(
    'a number',
    lambda value: (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and not math.isnan(value)
    ),
)
_TEXT = Kind('text', lambda value: isinstance(value, str))

_SIMPLE: dict[Any, Kind] = {
    int: _WHOLE,
    float: _NUMBER,
    bool: FLAG,
    str: _TEXT,
    type(None): NOTHING,
    dict: DICT,
    list: LIST,
    tuple: LIST,
    Sequence: LIST,
}


@lru_cache(maxsize=1024)
def kinds_of_arguments(target: Any) -> dict[str, Kind]:
    """What each argument of a class or function must be.

    Args:
        target: The class or function. Those of other packages have no entry:
            their annotations are often narrower than the code.

    Returns:
        By the argument's name, those whose annotation restricts the value.
    """
    functions = [target]
    if inspect.isclass(target):
        functions = [
            base.__dict__['__init__']
            for base in reversed(target.__mro__)
            if '__init__' in base.__dict__
        ]
    kinds: dict[str, Kind] = {}
    for function in functions:
        module = getattr(function, '__module__', None) or ''
        if module.partition('.')[0] not in _EXACT_PACKAGES:
            continue
        try:
            hints = typing.get_type_hints(function)
        except Exception:  # a name that exists for type checkers only
            continue
        for name in inspect.signature(function).parameters:
            kind = kind_of(hints.get(name, Any))
            kinds.pop(name, None)
            if kind is not _ANYTHING:
                kinds[name] = kind
    return kinds


def kind_of(annotation: Any) -> Kind:
    """Translate an annotation; what it cannot check, it accepts."""
    if annotation in _SIMPLE:
        return _SIMPLE[annotation]
    origin = typing.get_origin(annotation)
    arguments = typing.get_args(annotation)
    if origin is typing.Literal:
        return exactly(*arguments)
    if origin in (typing.Union, types.UnionType):
        parts = [kind_of(part) for part in arguments]
        if any(part is _ANYTHING for part in parts):
            return _ANYTHING
        kind = parts[0]
        for part in parts[1:]:
            kind = kind | part
        return kind
    if origin is dict:
        return DICT
    if origin is tuple and arguments and arguments[-1] is not Ellipsis:
        inner = kind_of(arguments[0])
        same = all(item == arguments[0] for item in arguments)
        return several(inner, len(arguments)) if same else LIST
    if origin in (list, tuple, Sequence):
        return several(kind_of(arguments[0])) if arguments else LIST
    return _ANYTHING
