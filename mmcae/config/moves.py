# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Change the paths of a config when its ``data_root`` or weights change."""

import warnings
from pathlib import Path
from typing import Any

from mmengine.config import Config

# The parts of a config that have paths below its data_root.
DATA_PARTS = tuple(
    f'{name}_{part}'
    for name in ('train', 'val', 'test')
    for part in ('dataloader', 'evaluator')
)

# Variables of a config file that name a checkpoint for its model.
WEIGHT_VARIABLES = ('checkpoint', 'tokenizer')


def with_slash(cfg: Config, variables: dict[str, Any]) -> dict[str, Any]:
    """Add a slash to the new ``data_root`` if the old one ends with a slash.

    mmdetection's configs compute ``data_root + 'annotations/...'``.
    """
    old, new = cfg.get('data_root'), variables.get('data_root')
    if new and isinstance(old, str) and old.endswith('/'):
        return {**variables, 'data_root': f'{new.rstrip("/")}/'}
    return variables


def without_slash(cfg: Config, variables: dict[str, Any]) -> None:
    """Remove the slash that `with_slash` added."""
    if 'data_root' not in variables:
        return
    added, given = cfg.data_root, variables['data_root']
    if added != given:
        for part in DATA_PARTS:
            _replace_root(cfg.get(part), added, given)
        cfg.data_root = given


def move_data_root(cfg: Config, future: Config) -> None:
    """Change the paths below ``data_root`` that the file did not compute."""
    old, new = cfg.get('data_root'), future.get('data_root')
    if old == new:
        return
    moved = 0
    for part in DATA_PARTS:
        moved += future.get(part) != cfg.get(part)
        moved += _replace_root(future.get(part), old, str(new))
    if not moved:
        warnings.warn(
            f"data_root={new}: no dataset of this config has the path '{old}';"
            ' set train_dataloader.dataset.data_root instead',
            stacklevel=4,
        )


def move_weights(cfg: Config, future: Config) -> None:
    """Replace the model's checkpoints that are equal to a variable's."""
    for name in WEIGHT_VARIABLES:
        old, new = cfg.get(name), future.get(name)
        if isinstance(old, str) and new is not None and old != new:
            _replace_value(future.get('model'), old, str(new))


def _replace_value(node: Any, old: str, new: str) -> None:
    """Replace every string ``old`` by ``new``, at any depth."""
    if not isinstance(node, dict | list):
        return
    pairs = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in list(pairs):
        if value == old:
            node[key] = new
        else:
            _replace_value(value, old, new)


def _replace_root(node: Any, old: Any, new: str) -> int:
    """Replace the root ``old`` by ``new`` in every path below it.

    Returns:
        The number of paths that were changed.
    """
    if isinstance(node, dict):
        items: list[tuple[Any, Any]] = list(node.items())
    elif isinstance(node, list):
        items = list(enumerate(node))
    else:
        return 0
    moved = 0
    prefix = None
    if isinstance(old, str) and old.strip('./'):
        prefix = old.rstrip('/') + '/'
    for key, value in items:
        if key == 'data_root' and value == old:
            node[key] = new
        elif (
            prefix
            and isinstance(value, str)
            and f'{value}/'.startswith(prefix)
        ):
            node[key] = str(Path(new) / value[len(prefix) :])
        else:
            moved += _replace_root(value, old, new)
            continue
        moved += 1
    return moved
