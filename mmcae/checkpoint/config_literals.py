# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Read the config inside a checkpoint as data, without executing it.

The text is parsed, never executed. ``dict(...)`` with literal arguments
counts as a literal.
"""

import ast
from typing import Any, NoReturn, Protocol

#: A config of this package has about 5,000 characters.
MAX_TEXT = 1 << 20
#: What parsing a hostile text can raise.
PARSE_ERRORS = (SyntaxError, ValueError, RecursionError, MemoryError)


class _Otherwise(Protocol):
    """Decides what becomes of a statement or expression that is no literal."""

    def __call__(self, node: ast.stmt | ast.expr) -> Any: ...


def config_literals(text: Any) -> dict[str, Any]:
    """Return the variables of a config whose values are literals.

    Args:
        text: The config of a run, as a checkpoint stores it.

    Returns:
        Values by the names of the variables; None where a value, or a part of
        it, is an expression. Empty if the text is not Python, or too long.
    """
    if not isinstance(text, str) or len(text) > MAX_TEXT:
        return {}
    try:
        return _variables(text, otherwise=lambda node: None)
    except PARSE_ERRORS:
        return {}


def literal_config(text: str) -> dict[str, Any]:
    """Return the variables of a config that is made of literals only.

    Args:
        text: The config, of at most `MAX_TEXT` characters.

    Returns:
        Values by the names of the variables.

    Raises:
        ValueError: If there is anything else in it; names the line. Whatever
            is in `PARSE_ERRORS` can be raised.
    """
    return _variables(text, otherwise=_refuse)


def _refuse(node: ast.stmt | ast.expr) -> NoReturn:
    raise ValueError(f'line {node.lineno}')


def _variables(text: str, otherwise: _Otherwise) -> dict[str, Any]:
    found = {}
    for statement in ast.parse(text).body:
        if isinstance(statement, ast.Assign) and isinstance(
            statement.targets[0], ast.Name
        ):
            value = _value(statement.value, otherwise)
            found[statement.targets[0].id] = value
        else:
            otherwise(statement)
    return found


def _value(node: ast.expr, otherwise: _Otherwise) -> Any:
    if isinstance(node, ast.Call):
        is_dict = isinstance(node.func, ast.Name) and node.func.id == 'dict'
        names = [item.arg for item in node.keywords]
        if not is_dict or node.args or None in names:
            return otherwise(node)
        return {k.arg: _value(k.value, otherwise) for k in node.keywords}
    if isinstance(node, ast.Dict):
        if not all(isinstance(key, ast.Constant) for key in node.keys):
            return otherwise(node)
        return {
            key.value: _value(value, otherwise)
            for key, value in zip(node.keys, node.values, strict=True)
            if isinstance(key, ast.Constant)
        }
    if isinstance(node, ast.List):
        return [_value(item, otherwise) for item in node.elts]
    if isinstance(node, ast.Tuple):
        return tuple(_value(item, otherwise) for item in node.elts)
    try:
        return ast.literal_eval(node)
    except ValueError:
        return otherwise(node)
