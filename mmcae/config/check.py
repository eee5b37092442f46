# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Tell a valid configuration key from a misspelt one.

mmengine adds an unknown key silently, so a run with a misspelt override uses
the default. Here a key must exist, or be an argument of the class that its
dict builds, or be a name that mmengine reads.
"""

import inspect
from collections.abc import Iterable
from typing import Any

from mmcae.config import keys as keys
from mmcae.config.key_paths import paths_to, value_at
from mmcae.config.nearest import ELSEWHERE, misspelt, nearest


class ConfigError(ValueError):
    """A config with a wrong key or value; the message names it."""


def check_file(cfg: Any, name: str) -> None:
    """Refuse misspelt names that mmengine would silently ignore.

    Users may define variables of their own. A name is refused only if nothing
    reads it and it is a misspelling of a name that is read.

    Args:
        cfg: The config as read from the file.
        name: What to call the file in the message.

    Raises:
        ConfigError: Names the key and the nearest valid one.
    """
    for key in cfg:
        if key in keys.TOP_LEVEL or key in keys.CONVENTIONAL:
            continue
        meant = misspelt(key, keys.TOP_LEVEL)
        if meant:
            raise ConfigError(
                f"{name}: nothing reads '{key}'; did you mean '{meant}'?"
            )
    for path in keys.SILENT:
        node = value_at(cfg, path)
        if not isinstance(node, dict):
            continue
        known, _ = accepted_keys(node, path, cfg)
        for key in node:
            meant = None if key in known else misspelt(key, known)
            if meant:
                raise ConfigError(
                    f"{name}: nothing reads '{path}.{key}'; did you mean "
                    f"'{path}.{meant}'?"
                )


def check_option(cfg: Any, future: Any, full_key: str) -> None:
    """Refuse an override that names nothing.

    Args:
        cfg: The config before any override.
        future: The config with all overrides applied; a ``type`` set by
            another override counts.
        full_key: The dotted key.

    Raises:
        ConfigError: Names the key and the nearest valid spelling.
    """
    parts = full_key.split('.')
    node: Any = cfg
    for depth, part in enumerate(parts):
        parents = parts[:depth]
        if isinstance(node, (list, tuple)):
            node = _index(node, parts, depth)
        elif node is None or isinstance(node, dict) or depth == 0:
            if node is not None and part in node:
                node = node[part]
            else:
                _check_new_key(cfg, future, parents, part, full_key)
                node = None
        else:
            raise ConfigError(
                f"'{full_key}': '{'.'.join(parents)}' is {node!r} and has no "
                f"'{part}'"
            )


def _check_new_key(
    cfg: Any, future: Any, parents: list[str], part: str, full_key: str
) -> None:
    path = '.'.join(parents)
    if path.startswith(keys.FREE) or part == '_delete_':
        return
    known, is_open = set(keys.TOP_LEVEL), False
    if parents:
        known, is_open = accepted_keys(value_at(future, path), path, future)
    if part in known or (is_open and not misspelt(part, known)):
        return
    existing = value_at(cfg, path) if parents else cfg
    present = list(existing) if isinstance(existing, dict) else []
    raise ConfigError(_unknown(cfg, parents, part, {*known, *present}))


def accepted_keys(node: Any, path: str, cfg: Any) -> tuple[set[str], bool]:
    """The keys that a dict may have, and whether others are accepted too.

    Args:
        node: The dict.
        path: Its dotted path.
        cfg: The config, for the default scope.
    """
    if path in keys.UNTYPED:
        return set(keys.UNTYPED[path]), False
    kind = node.get('type') if isinstance(node, dict) else None
    if kind is not None:
        scope = node.get('_scope_') or cfg.get('default_scope')
        return _class_keys(kind, scope, path)
    if path in keys.DEFAULT_TYPES:
        known = {'type'}
        for default in keys.DEFAULT_TYPES[path]:
            known |= _class_keys(default, None, path)[0]
        return known, False
    return set(), False


def _class_keys(
    kind: Any, scope: str | None, path: str
) -> tuple[set[str], bool]:
    registry_name = ''
    if isinstance(kind, str):
        found = resolve_type(kind, scope or 'mmengine', path)
        if found is None:  # building it will fail, and say why
            return set(), True
        kind, registry_name = found
    names, is_open = accepted_arguments(kind)
    names |= keys.BUILDER_KEYS.get(registry_name, frozenset())
    return names | {'type', '_scope_'}, is_open


def resolve_type(kind: str, scope: str, path: str) -> tuple[Any, str] | None:
    """Find the class behind a config's ``type``.

    Args:
        kind: The name, with or without its scope.
        scope: The config's ``default_scope``.
        path: The dotted path of the dict. It decides which registry is asked
            first.

    Returns:
        The class or function and its registry's name, or ``None``.
    """
    for registry in registries(path):
        for name in (f'{scope}.{kind}', kind) if '.' not in kind else (kind,):
            try:
                found = registry.get(name)
            except Exception:  # unknown here, or its package fails to import
                continue
            if found is not None:
                return found, registry.name
    return None


def accepted_arguments(target: Any) -> tuple[set[str], bool]:
    """The argument names of a class or function.

    ``**kwargs`` of an ``__init__`` are followed through its base classes.

    Returns:
        The names, and whether any other name is accepted too.
    """
    if inspect.isclass(target):
        from torch import nn

        functions = [
            base.__dict__['__init__']
            for base in target.__mro__
            if base not in (object, nn.Module) and '__init__' in base.__dict__
        ]
    else:
        functions = [target]
    names: set[str] = set()
    is_open = False
    for function in functions:
        try:
            parameters = inspect.signature(function).parameters.values()
        except (TypeError, ValueError):
            return names, True
        names |= {
            item.name
            for item in parameters
            if item.kind in (item.POSITIONAL_OR_KEYWORD, item.KEYWORD_ONLY)
        }
        is_open = any(item.kind == item.VAR_KEYWORD for item in parameters)
        if not is_open:
            break
    return names - {'self'}, is_open


def registries(path: str) -> list[Any]:
    """mmengine's registries, those likely for a dotted path first."""
    import mmengine.registry as root

    hints = (
        ('init_cfg', 'WEIGHT_INITIALIZERS'),
        ('optim_wrapper.constructor', 'OPTIM_WRAPPER_CONSTRUCTORS'),
        ('pipeline', 'TRANSFORMS'),
        ('sampler', 'DATA_SAMPLERS'),
        ('collate_fn', 'FUNCTIONS'),
        ('dataset', 'DATASETS'),
        ('optim_wrapper.optimizer', 'OPTIMIZERS'),
        ('optim_wrapper', 'OPTIM_WRAPPERS'),
        ('param_scheduler', 'PARAM_SCHEDULERS'),
        ('_hooks', 'HOOKS'),
        ('evaluator', 'METRICS'),
        ('vis_backends', 'VISBACKENDS'),
        ('visualizer', 'VISUALIZERS'),
        ('log_processor', 'LOG_PROCESSORS'),
        ('model_wrapper_cfg', 'MODEL_WRAPPERS'),
        ('strategy', 'STRATEGIES'),
        ('model', 'MODELS'),
        ('data_preprocessor', 'MODELS'),
        ('_cfg', 'LOOPS'),
    )
    others = """
        MODELS DATASETS TRANSFORMS HOOKS LOOPS EVALUATOR TASK_UTILS FUNCTIONS
        MODEL_WRAPPERS WEIGHT_INITIALIZERS"""
    first = [name for hint, name in hints if hint in path][:1]
    names = [*first, *(name for name in others.split() if name not in first)]
    return [getattr(root, name) for name in names if hasattr(root, name)]


def _index(node: Any, parts: list[str], depth: int) -> Any:
    part, path = parts[depth], '.'.join(parts[:depth])
    if not part.isdigit() or int(part) >= len(node):
        raise ConfigError(
            f"'{'.'.join(parts)}': '{path}' is a list of {len(node)}; give "
            f"an index from 0 to {len(node) - 1}, not '{part}'"
        )
    return node[int(part)]


def _unknown(
    cfg: Any, parents: list[str], part: str, known: Iterable[str]
) -> str:
    full_key = '.'.join([*parents, part])
    near = nearest(part, known)
    places = [] if near else _elsewhere(cfg, part)
    if near:
        hint = f"did you mean '{'.'.join([*parents, near])}'?"
    elif places:
        hint = f'did you mean {" or ".join(map(repr, places))}?'
    elif parents and known:
        hint = f'known there: {", ".join(sorted(known))}'
    else:
        hint = 'nothing has a similar name'
    return (
        f"there is no '{full_key}'; {hint} (to add a new key on purpose, "
        f"write '+{full_key}=...')"
    )


def _elsewhere(cfg: Any, part: str) -> list[str]:
    """Up to three paths whose last name is ``part``, or very similar."""
    names = {path.rpartition('.')[2] for path in paths_to(cfg, None)}
    name = nearest(part, names, ELSEWHERE)
    return list(paths_to(cfg, name))[:3] if name else []
