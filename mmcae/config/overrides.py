# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Read a config and apply overrides, refusing what nothing reads."""

import copy
import traceback
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.registry import FUNCTIONS

from mmcae.config.check import ConfigError, check_file, check_option
from mmcae.config.key_paths import value_at
from mmcae.config.moves import (
    move_data_root,
    move_weights,
    with_slash,
    without_slash,
)
from mmcae.config.option_text import Options
from mmcae.config.search_path import find_config
from mmcae.config.variables import (
    check_inside,
    check_kind,
    check_reached,
    drop_empty_schedulers,
    is_variable,
    read_with,
)
from mmcae.false_alarms import without_false_alarms

__all__ = ['ConfigError', 'apply_options', 'load_config']

# Dicts whose ``type`` is a function, called with all other keys.
FUNCTION_KEYS = ('collate_fn', 'worker_init_fn')
CALLED_KEYS = (*FUNCTION_KEYS, 'clip_grad')


def load_config(
    path: str | Path, cfg_options: dict[str, Any] | None = None
) -> Config:
    """Read a config and apply overrides, refusing misspelt keys.

    Args:
        path: A file, the name of a packaged config, or ``package::path``; see
            :func:`mmcae.config.search_path.find_config`.
        cfg_options: Dotted keys and values, as ``--cfg-options`` gives them;
            see :func:`apply_options`.

    Returns:
        The config.

    Raises:
        ConfigError: If the file or an override names a key that nothing
            reads; the message has the nearest valid spelling.
        FileNotFoundError: If there is no such config.
    """
    file = find_config(path)
    cfg = _read(file)
    with without_false_alarms():  # the check imports the configured classes
        check_file(cfg, str(path))
    apply_options(cfg, cfg_options or {}, file)
    return cfg


def _read(file: Path, variables: dict[str, Any] | None = None) -> Config:
    try:
        cfg = read_with(file, variables or {})
    except SyntaxError as error:
        raise ConfigError(
            f'{file}, line {error.lineno}: {error.msg}'
        ) from error
    except (ConfigError, OSError):
        raise
    except Exception as error:  # whatever the code of the file raises
        raise ConfigError(_say_why(file, error)) from error
    _drop_scopes(cfg._cfg_dict)
    return cfg


def _say_why(file: Path, error: Exception) -> str:
    """Say where the code of a config file failed, and with which error."""
    lines = [
        number
        for frame, number in traceback.walk_tb(error.__traceback__)
        if frame.f_code.co_filename == ''  # mmengine compiles it so
    ]
    where = f'{file}, line {lines[-1]}' if lines else str(file)
    first: BaseException = error
    while first.__context__ is not None:
        first = first.__context__
    reason = str(first).partition('\n')[0]
    if not lines and isinstance(error, ImportError | TypeError):
        where += ': custom_imports'
    return f'{where}: {type(first).__name__}: {reason}'


def _drop_scopes(node: Any, name: str = '') -> None:
    """Remove the ``_scope_`` that mmengine adds to a base ``mmcae::...``.

    mmengine adds the package's name to each dict with a ``type`` in such a
    base. mmcae's configs write the scope of every class that needs one
    (``mmcae.CAE``), so the key is not needed, and it does harm: mmengine
    passes it on to functions, which do not accept it, and no longer looks for
    a class without scope in the config's ``default_scope``. The scope of
    another package stays where a class is built.
    """
    if isinstance(node, dict):
        scope = node.get('_scope_')
        if scope == 'mmcae' or (scope and name in CALLED_KEYS):
            del node['_scope_']
        if scope not in (None, 'mmcae') and name in FUNCTION_KEYS:
            kind = node.get('type')
            if isinstance(kind, str) and kind not in FUNCTIONS.module_dict:
                node['type'] = f'{scope}.{kind}'
        for key, value in node.items():
            _drop_scopes(value, key)
    elif isinstance(node, list | tuple):
        for value in node:
            _drop_scopes(value)


def apply_options(
    cfg: Config, options: dict[str, Any], file: Path | None = None
) -> None:
    """Apply overrides in place, or refuse all of them.

    A key must exist, or be an argument of the class its dict builds, or be a
    name that mmengine reads; ``+key`` adds a new one on purpose. Indices
    address list items (``param_scheduler.0.end``).

    An override of a variable of the file (``max_epochs``) changes every value
    that the file computes from it, as if the file had been edited. Values
    that the file does not compute follow the variable only if they are paths:
    those below ``data_root``, and those equal to ``checkpoint`` or
    ``tokenizer``. The same is true of all values if no file is given.

    Args:
        cfg: The config to change.
        options: Dotted keys and values.
        file: The file that ``cfg`` was read from, unchanged since.

    Raises:
        ConfigError: Names the key and the nearest valid spelling. If nothing
            is computed from a variable, it names the keys to set instead.
    """
    if isinstance(options, Options):
        options = {
            key: options.fitted(key, value_at(cfg, key.removeprefix('+')))
            for key in options
        }
    variables = {
        key: str(value) if isinstance(value, Path) else value
        for key, value in options.items()
        if is_variable(cfg, key)
    }
    future = _with_variables(cfg, variables, file)
    for key, value in options.items():
        if key not in variables:
            _set(future, key.removeprefix('+'), value)
    for key, value in options.items():
        if not key.startswith('+'):
            for full_key in _flatten(key, value):
                check_option(cfg, future, full_key)
        if key not in variables and not key.startswith('+'):
            check_inside(cfg, key)
    if variables:
        drop_empty_schedulers(future, variables)
    cfg._cfg_dict.clear()
    cfg._cfg_dict.update(future._cfg_dict)


def _with_variables(
    cfg: Config, variables: dict[str, Any], file: Path | None
) -> Config:
    """A copy of a config in which variables have other values."""
    if variables.get('data_root', '') is None:
        raise ConfigError("'data_root' is empty; give the path of a folder")
    for name, value in variables.items():
        check_kind(name, cfg[name], value)
    if file is not None and Config._is_lazy_import(str(file)):
        file = None
    if file is not None and variables:
        new = _read(file, with_slash(cfg, variables))
        without_slash(new, variables)
    else:
        new = copy.deepcopy(cfg)
        for name, value in variables.items():
            new[name] = value
    move_data_root(cfg, new)
    move_weights(cfg, new)
    for name, value in variables.items():
        if name == 'data_root':
            continue
        alone = None
        if file is not None and len(variables) > 1:
            alone = _read(file, {name: value})
        check_reached(cfg, new, name, alone)
    return new


def _flatten(key: str, value: Any) -> list[str]:
    """The keys that a (possibly nested) override sets."""
    if isinstance(value, dict) and value and not value.get('_delete_'):
        return [
            full_key
            for name, item in value.items()
            for full_key in _flatten(f'{key}.{name}', item)
        ]
    return [key]


def _set(cfg: Any, full_key: str, value: Any) -> None:
    """Write one value, and create the dicts that lead to it."""
    *parents, last = full_key.split('.')
    trail: list[tuple[Any, Any]] = []
    node = cfg
    for part in parents:
        key = _key(node, part, full_key)
        child = node.get(part) if hasattr(node, 'get') else node[key]
        if child is None:
            node[key] = ConfigDict()
            child = node[key]  # a ConfigDict stores copies of dicts
        trail.append((node, key))
        node = child
    key = _key(node, last, full_key)
    if isinstance(value, dict):
        if not value.get('_delete_') and hasattr(node, 'get'):
            known = node.get(last)
            if isinstance(known, dict):
                for name, item in value.items():
                    _set(known, name, item)
                return
        value = ConfigDict(
            {name: item for name, item in value.items() if name != '_delete_'}
        )
    if isinstance(node, tuple):
        # A tuple cannot be changed: replace it by a changed copy.
        items = list(node)
        items[key] = value
        holder, name = trail[-1]
        holder[name] = tuple(items)
    else:
        node[key] = value


def _key(node: Any, part: str, full_key: str) -> Any:
    if hasattr(node, 'get'):
        return part
    if isinstance(node, (list, tuple)):
        if part.isdigit() and int(part) < len(node):
            return int(part)
        raise ConfigError(
            f"'{full_key}': '{part}' must be an index from 0 to "
            f'{len(node) - 1}, the list there has {len(node)} items'
        )
    raise ConfigError(
        f"'{full_key}': the value before '{part}' is {node!r}, not a dict"
    )
