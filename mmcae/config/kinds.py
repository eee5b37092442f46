# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""What a value of a config can be asked to be: a test and its name."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Kind:
    """What a value must be: a test, and its description in a message."""

    wanted: str
    accepts: Callable[[Any], bool]

    def __or__(self, other: 'Kind') -> 'Kind':
        return Kind(
            f'{self.wanted} or {other.wanted}',
            lambda value: self.accepts(value) or other.accepts(value),
        )


def _is_number(value: Any) -> bool:
    is_real = isinstance(value, int | float) and not isinstance(value, bool)
    return is_real and math.isfinite(value)


def whole(least: int, most: float = math.inf) -> Kind:
    """A whole number from ``least`` to ``most``."""
    end = '' if most == math.inf else f' to {most:.0f}'
    return Kind(
        f'a whole number from {least}{end}',
        lambda value: (
            isinstance(value, int)
            and not isinstance(value, bool)
            and least <= value <= most
        ),
    )


def number(
    least: float = -math.inf,
    most: float = math.inf,
    above: float = -math.inf,
    below: float = math.inf,
) -> Kind:
    """A finite number within the given limits."""
    limits = [
        f'{word} {limit:g}'
        for word, limit in (
            ('from', least),
            ('above', above),
            ('to', most),
            ('below', below),
        )
        if math.isfinite(limit)
    ]
    return Kind(
        ' '.join(['a number', *limits]),
        lambda value: (
            _is_number(value)
            and least <= value <= most
            and above < value < below
        ),
    )


def several(kind: Kind, *counts: int) -> Kind:
    """A list of values of one kind; if lengths are given, of one of them."""
    size = f'{" or ".join(map(str, counts))} times ' if counts else ''
    return Kind(
        f'a list: {size}{kind.wanted}',
        lambda value: (
            isinstance(value, list | tuple)
            and (not counts or len(value) in counts)
            and all(kind.accepts(item) for item in value)
        ),
    )


def exactly(*values: Any) -> Kind:
    """One of the given values, of the same type."""
    return Kind(
        ' or '.join(repr(value) for value in values),
        lambda value: any(
            type(item) is type(value) and item == value for item in values
        ),
    )


FLAG = exactly(True, False)
NOTHING = exactly(None)
NEVER = exactly(-1)
TEXT = Kind('text', lambda value: isinstance(value, str) and bool(value))
DICT = Kind('a dict', lambda value: isinstance(value, dict))
LIST = Kind('a list', lambda value: isinstance(value, list | tuple))
SHARE = number(0, 1)
