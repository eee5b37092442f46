# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Read the values of ``--cfg-options KEY=VALUE``.

mmengine's parser removes all blanks and splits at every comma, so a folder
called ``My Photos, 2026`` cannot be given. Here blanks stay, and a value that
is text in the config stays text.
"""

import re
from collections.abc import Iterator
from typing import Any, Literal

from mmengine.config import DictAction

_CLOSING = {'[': ']', '(': ')'}
_QUOTED = re.compile(r"""(['"])(.*)\1""", re.DOTALL)


class Options(dict[str, Any]):
    """Overrides from a command line, with the text that each was read from."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: dict[str, str] = {}

    def add(self, pair: str) -> None:
        """Add ``key=value``; raises ValueError for unbalanced brackets."""
        key, _, text = pair.partition('=')
        self[key] = parse_value(text)
        self.texts[key] = text

    def fitted(self, key: str, present: Any) -> Any:
        """The value of an override, read to suit the one that it replaces."""
        if key not in self.texts or not isinstance(present, str):
            return self[key]
        is_path = '/' in present or key.rpartition('.')[2] == 'data_root'
        return parse_value(self.texts[key], 'path' if is_path else 'text')


def parse_value(
    text: str, present: Literal['text', 'path'] | None = None
) -> Any:
    """Read a value.

    ==========================  ===========================================
    text                        value
    ==========================  ===========================================
    ``'...'`` or ``"..."``      the text between the quotes, unchanged
    ``[...]``, ``(...)``        a list, a tuple; nested ones, too
    ``1``, ``1e-3``, ``true``,  a number, a boolean, ``None``
    ``None``
    ``a,b``                     a list; but text if it has a blank and an item
                                that is not a number
    anything else               the text, with its blanks and commas
    ==========================  ===========================================

    Args:
        text: What follows ``=``.
        present: The kind of the present value in the config, if that is
            text. Then only brackets make a list, and a number in place of a
            path is read as a name.

    Raises:
        ValueError: If brackets or quotes do not close.
    """
    text = text.strip()
    quoted = _QUOTED.fullmatch(text)
    if quoted and quoted[1] not in quoted[2]:
        return quoted[2]
    if text[:1] in _CLOSING:
        items = list(_split(text))
        if len(items) == 1 and text.endswith(_CLOSING[text[0]]):
            inner = [parse_item(item) for item in _split(text[1:-1])]
            return tuple(inner) if text[0] == '(' else inner
    value = _literal(text)
    if present is not None:
        is_name = present == 'path' and value is not None
        return text if is_name else value
    if ',' in text:
        try:
            items = list(_split(text))
        except ValueError:  # a name with a bracket in it
            return text
        values = [parse_item(item) for item in items]
        if ' ' not in text or not any(isinstance(v, str) for v in values):
            return values
    return value


def parse_item(text: str) -> Any:
    """Read an item of a list: a list in brackets, a literal or text."""
    text = text.strip()
    if text[:1] in (*_CLOSING, '"', "'"):
        return parse_value(text)
    return _literal(text)


def _literal(text: str) -> Any:
    return DictAction._parse_int_float_bool(text)


def _split(text: str) -> Iterator[str]:
    """Split at the commas outside brackets and quotes.

    A comma at the end adds no item.
    """
    open_brackets: list[str] = []
    quote, start = '', 0
    for index, char in enumerate(text):
        if quote:
            quote = '' if char == quote else quote
        elif char in '"\'' and text[:index].rstrip()[-1:] in ('', *'[(,'):
            quote = char  # an apostrophe inside a word is not a quote
        elif char in _CLOSING:
            open_brackets.append(_CLOSING[char])
        elif char in _CLOSING.values():
            if not open_brackets or open_brackets.pop() != char:
                raise ValueError(f"brackets do not match in '{text}'")
        elif char == ',' and not open_brackets:
            yield text[start:index]
            start = index + 1
    if open_brackets or quote:
        raise ValueError(f"brackets or quotes do not close in '{text}'")
    if text[start:].strip():
        yield text[start:]
