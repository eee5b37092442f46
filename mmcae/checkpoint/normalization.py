# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""How the images of a checkpoint's model were normalized."""

import ast
import json
from collections.abc import Mapping
from typing import Any

# What the recipes for ImageNet use; of RGB in 0..1.
IMAGENET = dict(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
_MAX_TEXT = 1 << 20


def recorded_normalization(
    checkpoint: Mapping[str, Any],
) -> dict[str, list[float]] | None:
    """Read mean and deviation off what a checkpoint says about itself.

    A training run stores its config, a converted file the numbers. The
    config is Python code, of which only literals are read; nothing is run.

    Args:
        checkpoint: A file's content.

    Returns:
        ``mean`` and ``std`` of RGB in 0..1, or ``None`` where the file does
        not say (or its model takes another order of channels).
    """
    meta = checkpoint.get('meta')
    if not isinstance(meta, Mapping):
        return None
    written = meta.get('normalization')
    if isinstance(written, str):
        try:
            written = json.loads(written)
        except ValueError:
            written = None
    if isinstance(written, Mapping):
        return _checked(written.get('mean'), written.get('std'), 1)
    config = _literals(meta.get('cfg'))
    model = config.get('model')
    inner = model.get('data_preprocessor') if isinstance(model, dict) else None
    for parts in (inner, config.get('data_preprocessor')):
        if isinstance(parts, dict) and parts.get('mean') is not None:
            if not (parts.get('to_rgb') or parts.get('bgr_to_rgb')):
                return None
            return _checked(parts['mean'], parts.get('std'), 255)
    return None


def _checked(
    mean: Any, std: Any, scale: float
) -> dict[str, list[float]] | None:
    values = {}
    for name, numbers in (('mean', mean), ('std', std)):
        if not isinstance(numbers, list | tuple) or len(numbers) != 3:
            return None
        if not all(type(number) in (int, float) for number in numbers):
            return None
        values[name] = [round(number / scale, 6) for number in numbers]
    return values


def _literals(text: Any) -> dict[str, Any]:
    """The names that a config sets to literals and ``dict(...)`` of such."""
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
    """The value of a literal; ``None`` in place of what is none."""
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
