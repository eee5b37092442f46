# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""One grammar of literals, read tolerantly and strictly."""

import pytest

from mmcae.checkpoint.config_literals import (
    MAX_TEXT,
    PARSE_ERRORS,
    config_literals,
    literal_config,
)

LITERALS = """
model = dict(type='A', sizes=[1, (2, -3.5)], by_index={0: None, 'b': True})
lr = 1e-3
"""
VALUES = dict(
    model=dict(type='A', sizes=[1, (2, -3.5)], by_index={0: None, 'b': True}),
    lr=1e-3,
)
EXPRESSIONS = [
    'open("executed", "w")',
    'dict(**{"a": 1})',
    'dict([("a", 1)])',
    '{**{"a": 1}}',
    '{(lambda: 1)(): 1}',
    '{[1]: 1}',
    '[i for i in range(3)]',
    '1 if True else 2',
    'lr',
]


def test_literals__are_the_same_in_both():
    assert config_literals(LITERALS) == VALUES
    assert literal_config(LITERALS) == VALUES


@pytest.mark.parametrize('expression', EXPRESSIONS)
def test_expressions__are_none_or_refused(expression, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = f'a = 1\nb = dict(c={expression}, d=2)\n'
    assert config_literals(text) == dict(a=1, b=dict(c=None, d=2))
    with pytest.raises(ValueError, match='line 2'):
        literal_config(text)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('statement', ['import os', 'a.b = 1', 'for i in a:i'])
def test_statements__are_left_out_or_refused(statement):
    text = f'a = 1\n{statement}\n'
    assert config_literals(text) == dict(a=1)
    with pytest.raises(ValueError, match='line 2'):
        literal_config(text)


@pytest.mark.parametrize(
    'text', ['a = ', 'a = ' + '(' * 5000, 'a = "\0"', '-' * 10_000 + '1']
)
def test_texts_that_are_not_python__never_escape(text):
    assert config_literals(text) == {}
    with pytest.raises(PARSE_ERRORS):
        literal_config(text)


def test_config_literals__of_no_text_or_too_much():
    assert config_literals(None) == {}
    assert config_literals(b'a = 1') == {}
    assert config_literals('a = 1\n' + '#' * MAX_TEXT) == {}
