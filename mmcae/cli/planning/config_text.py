# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Values as the text of a config."""

from typing import Any


def written(value: Any, indent: str = '') -> str:
    """Write a value as Python, a dictionary as ``dict(...)``."""
    if not isinstance(value, dict):
        return repr(value)
    inner = indent + '    '
    items = ''.join(
        f'{inner}{key}={written(item, inner)},\n'
        for key, item in value.items()
    )
    return f'dict(\n{items}{indent})'
