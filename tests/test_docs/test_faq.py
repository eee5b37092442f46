# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The FAQ quotes messages that the code still prints."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r'^```text\n(.*?)\n```$', re.MULTILINE | re.DOTALL)


def quoted_messages(text):
    """Messages of mmcae that a page quotes, with … for what varies."""
    return _BLOCK.findall(text)


@cache
def _templates():
    """All texts in the code, with … where an f-string has a value."""
    texts = []
    for path in (ROOT / 'mmcae').rglob('*.py'):
        if '.mim' in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            if isinstance(node, ast.JoinedStr):
                parts = [
                    part.value if isinstance(part, ast.Constant) else '…'
                    for part in node.values
                ]
                texts.append(''.join(parts))
            elif isinstance(node, ast.Constant) and isinstance(
                node.value, str
            ):
                texts.append(node.value)
    return texts


def is_printed(message, texts):
    """Whether one text of the code has all fixed parts, in their order."""
    parts = [re.escape(p) for p in re.split('…', message) if p.strip()]
    pattern = re.compile('.*?'.join(parts), re.DOTALL)
    return any(pattern.search(text) for text in texts)


MESSAGES = quoted_messages((ROOT / 'docs' / 'faq.md').read_text('utf-8'))


def test_faq__has_many_messages():
    assert len(MESSAGES) >= 15


@pytest.mark.parametrize('message', MESSAGES)
def test_faq__quotes_what_the_code_prints(message):
    assert is_printed(message, _templates())


def test_is_printed__needs_all_parts_of_one_text():
    texts = ['a … b', 'c … d']
    assert is_printed('a … b', texts)
    assert not is_printed('a … d', texts)
    assert not is_printed('a … x', texts)
