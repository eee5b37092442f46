# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Read the config inside a checkpoint as data, without executing it."""

import ast
from typing import Any

_MAX_TEXT = 1 << 20


def config_literals(text: Any) -> dict[str, Any]:
    """Return the variables of a config whose values are literals.

    The text is parsed, never executed. ``dict(...)`` with literal arguments
    counts as a literal.

    Args:
        text: The config of a run, as a checkpoint stores it.

    Returns:
        Values by the names of the variables; None where a value is an
        expression. Empty if the text is not Python, or too long.
    """
    if not isinstance(text, str) or len(text) > _MAX_TEXT:
        return {}
    try:
        tree = ast.parse(text)
        return {
            statement.targets[0].id: _literal(statement.value)
            for statement in tree.body
            if isinstance(statement, ast.Assign)
            and isinstance(statement.targets[0], ast.Name)
        }
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}


def _literal(node: ast.expr) -> Any:
    """Return the value of a literal; None for any other expression."""
    if isinstance(node, ast.Call):
        is_dict = isinstance(node.func, ast.Name) and node.func.id == 'dict'
        if not is_dict or node.args:
            return None
        return {item.arg: _literal(item.value) for item in node.keywords}
    if isinstance(node, ast.Dict):
        keys = [key and _literal(key) for key in node.keys]
        if not all(isinstance(key, str) for key in keys):
            return None
        values = map(_literal, node.values)
        return dict(zip(keys, values, strict=True))
    if isinstance(node, ast.List | ast.Tuple):
        return [_literal(item) for item in node.elts]
    try:
        return ast.literal_eval(node)
    except ValueError:
        return None
