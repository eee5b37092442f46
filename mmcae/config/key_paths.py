# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Dotted paths (``param_scheduler.0.end``) in a nested config."""

from collections.abc import Iterable, Iterator
from typing import Any


def value_at(cfg: Any, path: str) -> Any:
    """The value that a dotted path leads to; ``None`` if it leads nowhere."""
    node = cfg
    for part in path.split('.'):
        if isinstance(node, (list, tuple)) and part.isdigit():
            node = node[int(part)] if int(part) < len(node) else None
        elif hasattr(node, 'get'):
            node = node.get(part)
        else:
            return None
    return node


def walk(node: Any, prefix: str = '') -> Iterator[tuple[str, Any]]:
    """Every dotted path below a node, with its value, parents first."""
    if hasattr(node, 'items'):
        items: Iterable[tuple[Any, Any]] = node.items()
    elif isinstance(node, (list, tuple)):
        items = enumerate(node)
    else:
        return
    for key, value in items:
        yield f'{prefix}{key}', value
        yield from walk(value, f'{prefix}{key}.')


def paths_to(cfg: Any, name: str | None) -> Iterator[str]:
    """The paths of two parts or more that end in ``name`` (``None``: any)."""
    for path, _ in walk(cfg):
        head, _, last = path.rpartition('.')
        if head and name in (None, last):
            yield path
