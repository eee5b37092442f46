# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Names from files, as they may be shown on a terminal and in a log."""

from typing import Any

# Longer than any name of a tensor in OpenMMLab's models (below 100).
_LIMIT = 200
# Python refuses to write numbers of more than about 14,000 bits.
_LONG_NUMBER = 1024
_SHORT = 16


def printable(name: Any, limit: int = _LIMIT) -> str:
    """Show a name that comes from a file, on one line and without effects.

    A name is the file's word. Escape codes in it would clear a terminal or
    color it, a newline would forge an entry of the log, and a mark that
    turns the direction of writing would disguise what is there.

    Args:
        name: The name; what is no string is shown by its ``repr``. A short
            list of plain values is shown, too; of other containers only the
            kind is: they may hold others without end.
        limit: More characters than this are left out.

    Returns:
        The name with such characters as escapes (``\\x1b``), and with its
        length if it was cut.
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
    elif isinstance(name, int) and name.bit_length() > _LONG_NUMBER:
        text = f'a number of {name.bit_length()} bits'
    else:
        text = repr(name)
    shown = ''.join(map(_escape, text[:limit]))
    if len(text) > limit:
        shown += f'... ({len(text)} characters)'
    return shown


def _is_short(items: tuple | list) -> bool:
    return len(items) <= _SHORT and all(
        type(item) in (str, int, float, bool, type(None)) for item in items
    )


def printable_lines(text: str) -> str:
    """Show a message of one or several lines: all but newlines escaped."""
    return '\n'.join(printable(line, len(line)) for line in text.split('\n'))


def _escape(character: str) -> str:
    if character.isprintable():
        return character
    return character.encode('unicode_escape').decode('ascii')
