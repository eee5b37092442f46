# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Show names from files safely: used by every message of this room."""

from collections.abc import Iterable
from typing import Any

# Tensor names in OpenMMLab's models have fewer than 100 characters.
_MAX_LENGTH = 200
# Python refuses to print integers of more than about 14,000 bits.
_MAX_BITS = 1024
_MAX_ITEMS = 16


def printable(name: Any, limit: int = _MAX_LENGTH) -> str:
    """Show a name that comes from a file, on one line and harmless.

    A hostile file can have any name. Escape codes in it could clear or color
    a terminal, a newline could forge an entry of the log, and a character
    that changes the writing direction could hide what the name is.

    Args:
        name: The name. A value that is not a string is shown by its
            ``repr``, and so is a short list of plain values. Of other
            containers only the type is shown, because they can be huge.
        limit: The name is cut after this many characters.

    Returns:
        The name with such characters as escapes (``\\x1b``). A name that was
        cut is followed by its length.
    """
    if isinstance(name, str):
        text = name
    elif isinstance(name, bytes | bytearray):
        text = repr(bytes(name[:limit]))
    elif isinstance(name, tuple | list) and _is_short(name):
        inside = ', '.join(printable(item, limit) for item in name)
        text = f'[{inside}]' if isinstance(name, list) else f'({inside})'
    elif isinstance(name, tuple | list | dict | set | frozenset):
        text = f'a {type(name).__name__}'
    elif isinstance(name, int) and name.bit_length() > _MAX_BITS:
        text = f'a number of {name.bit_length()} bits'
    else:
        text = repr(name)
    shown = ''.join(map(_escape, text[:limit]))
    if len(text) > limit:
        shown += f'... ({len(text)} characters)'
    return shown


def _is_short(items: tuple | list) -> bool:
    return len(items) <= _MAX_ITEMS and all(
        type(item) in (str, int, float, bool, type(None)) for item in items
    )


def printable_names(names: Iterable[Any], most: int = 3) -> str:
    """List the first few names; ``...`` stands for the others."""
    names = list(names)
    shown = ', '.join(map(printable, names[:most]))
    return shown + (', ...' if len(names) > most else '')


def printable_set(names: Iterable[Any]) -> str:
    """List names in alphabetical order and in parentheses."""
    return f'({printable_names(sorted(map(str, names)), 12)})'


def printable_lines(text: str) -> str:
    """Show a message of several lines: escape everything but newlines."""
    return '\n'.join(printable(line, len(line)) for line in text.split('\n'))


def _escape(character: str) -> str:
    if character.isprintable():
        return character
    return character.encode('unicode_escape').decode('ascii')
