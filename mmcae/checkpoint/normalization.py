# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Find how the images were normalized for the model of a checkpoint."""

import ast
import json
from collections.abc import Mapping
from typing import Any

from mmcae.checkpoint.weights import meta_of

# Of the recipes for ImageNet, for RGB values in 0..1.
IMAGENET = dict(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
_MAX_TEXT = 1 << 20


def recorded_normalization(
    checkpoint: Mapping[str, Any],
) -> dict[str, list[float]] | None:
    """Find mean and standard deviation in the metadata of a checkpoint.

    A training run stores its config, and a converted file stores the
    numbers. The config is Python code. It is parsed, never executed: only its
    literals are used.

    Args:
        checkpoint: The content of a file.

    Returns:
        ``mean`` and ``std`` for RGB values in 0..1. None if the file does not
        say, or if the channels of the model are not in the order RGB.
    """
    meta = meta_of(checkpoint)
    written = meta.get('normalization')
    if isinstance(written, str):
        try:
            written = json.loads(written)
        except ValueError:
            written = None
    if isinstance(written, Mapping):
        return _checked(written.get('mean'), written.get('std'), 1)
    config = literals_of(meta.get('cfg'))
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


def literals_of(text: Any) -> dict[str, Any]:
    """Return the variables of a config whose values are literals.

    ``dict(...)`` with literal arguments counts as a literal.
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
