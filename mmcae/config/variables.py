# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Change the value of a variable of a config file.

A config file computes (``T_max=max_epochs - warmup_epochs``), so an override
of ``max_epochs`` alone changes nothing that was computed. Here the file is
read again as if it had been edited: each file of the inheritance chain that
sets the variable sets it to the new value.
"""

import ast
import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmcae.config.check import ConfigError
from mmcae.config.key_paths import paths_to, value_at, walk
from mmcae.config.keys import TOP_LEVEL

_MAX_NAMED = 4


def is_variable(cfg: Config, name: str) -> bool:
    """Whether a top-level name is a variable, which only the file reads."""
    return name in cfg and name not in TOP_LEVEL


def read_with(file: str | Path, variables: Mapping[str, Any]) -> Config:
    """Read a config file with other values for its variables.

    Args:
        file: The config file.
        variables: Names that the file, or one that it inherits, sets.

    Raises:
        ConfigError: If the file cannot compute with these values.
    """
    if not variables:
        return Config.fromfile(file)
    with _edited(variables):
        try:
            return Config.fromfile(file)
        except Exception as error:  # whatever the file's own code raises
            raise ConfigError(
                f'{_say(variables)}: {file} cannot compute with that '
                f'({type(error).__name__}: {error})'
            ) from error


@contextmanager
def _edited(variables: Mapping[str, Any]) -> Iterator[None]:
    """Let mmengine read config files with other values of variables.

    The replaced method is the last step before mmengine compiles a file.
    """
    original = Config._pre_substitute_base_vars

    def substitute(filename: str, temp_config_name: str) -> dict:
        placeholders = original(filename, temp_config_name)
        path = Path(temp_config_name)
        if path.suffix == '.py':
            code = path.read_text(encoding='utf-8')
            path.write_text(with_values(code, variables), encoding='utf-8')
        return placeholders

    Config._pre_substitute_base_vars = staticmethod(substitute)
    try:
        yield
    finally:
        Config._pre_substitute_base_vars = staticmethod(original)


def with_values(code: str, variables: Mapping[str, Any]) -> str:
    """Set variables to new values wherever the code sets them.

    Args:
        code: Python code.
        variables: Names and values; a name that the code does not set is
            left alone.
    """
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            continue
        for field in ('body', 'orelse', 'finalbody'):
            block = getattr(node, field, None)
            if isinstance(block, list):
                setattr(node, field, list(_edited_block(block, variables)))
    return ast.unparse(ast.fix_missing_locations(tree))


def _edited_block(
    block: list[ast.stmt], variables: Mapping[str, Any]
) -> Iterator[ast.stmt]:
    for statement in block:
        yield statement
        targets: list[ast.expr] = []
        if isinstance(statement, ast.Assign):
            targets = statement.targets
        elif isinstance(statement, ast.AnnAssign | ast.AugAssign):
            targets = [statement.target]
        names = {
            node.id
            for target in targets
            for node in ast.walk(target)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        }
        for name in sorted(names & set(variables)):
            yield from ast.parse(f'{name} = {variables[name]!r}').body


def check_kind(name: str, old: Any, new: Any) -> None:
    """Refuse a value whose kind is not that of the present value.

    Raises:
        ConfigError: Says which kind it must be.
    """
    wanted = None
    if isinstance(old, bool):
        if not isinstance(new, bool):
            wanted = 'True or False'
    elif isinstance(old, int | float):
        whole = isinstance(old, int)
        if isinstance(new, bool) or not isinstance(
            new, int if whole else int | float
        ):
            wanted = 'a whole number' if whole else 'a number'
        elif not math.isfinite(new):
            wanted = 'a finite number'
    elif isinstance(old, str):
        if not (new is None or isinstance(new, str)):
            wanted = 'text'
    elif isinstance(old, list | tuple) and not isinstance(new, list | tuple):
        wanted = 'a list'
    if wanted:
        raise ConfigError(f'{name}={new!r}: must be {wanted}, as {old!r} is')


def check_reached(
    old: Config, new: Config, name: str, effect: Config | None = None
) -> None:
    """Refuse a new value of a variable if it has no effect on the run.

    If the config has keys with the variable's name
    (``train_cfg.max_epochs``), one of them must have taken the value;
    otherwise at least one value that mmengine reads must have changed.

    Args:
        old: The config before.
        new: The config with the variable's new value.
        name: The variable.
        effect: The config with this variable changed and no other; by
            default ``new``.

    Raises:
        ConfigError: Names the keys to set instead.
    """
    if old[name] == new[name]:
        return
    namesakes = [
        path
        for path in paths_to(old, name)
        if _top(path) in TOP_LEVEL
        and not isinstance(value_at(old, path), dict)
    ]
    if namesakes:
        for path in namesakes:
            if value_at(old, path) != value_at(new, path) == new[name]:
                return
    elif _read_part(old) != _read_part(effect or new):
        return
    raise ConfigError(
        f"{name}={new[name]!r}: '{name}' is a variable of the config file, "
        f'and {_instead(old, name, namesakes)} (+{name}=... sets the variable '
        'alone)'
    )


def check_inside(cfg: Config, full_key: str) -> None:
    """Refuse an override inside a variable, which would have no effect.

    Raises:
        ConfigError: Names the keys that hold copies of the variable.
    """
    name, _, rest = full_key.partition('.')
    if not is_variable(cfg, name):
        return
    copies = [
        f"'{path}.{rest}'"
        for path, value in walk(cfg)
        if _top(path) in TOP_LEVEL and value == cfg[name]
    ]
    hint = ' and '.join(copies) or 'the keys computed from it'
    raise ConfigError(
        f"'{full_key}': '{name}' is a variable of the config file, and other "
        f'keys have copies of it; set {hint} instead'
    )


def drop_empty_schedulers(cfg: Config, variables: Mapping[str, Any]) -> None:
    """Remove schedulers for which a shorter training leaves no step.

    ``max_epochs=3`` with ``warmup_epochs=3`` leaves none after the warm-up;
    mmengine refuses a scheduler that ends where it begins.
    """
    schedulers = cfg.get('param_scheduler')
    if not isinstance(schedulers, list):
        return
    kept = []
    for scheduler in schedulers:
        begin, end = scheduler.get('begin', 0), scheduler.get('end', math.inf)
        if not isinstance(begin, int) or begin < end:
            kept.append(scheduler)
            continue
        warnings.warn(
            f'{_say(variables)}: {scheduler.get("type")} from {begin} to '
            f'{end} has no step left and is dropped; what comes before it '
            'lasts until the end (shorten the warm-up to make room)',
            stacklevel=4,
        )
    cfg.param_scheduler = kept


def _instead(cfg: Config, name: str, namesakes: list[str]) -> str:
    """Say which keys to set in place of a variable that has no effect."""
    value = cfg[name]
    equal = [
        path
        for path, item in walk(cfg)
        if _top(path) in TOP_LEVEL
        and '.' in path
        and type(item) is type(value)
        and item == value
        and not (isinstance(value, int) and abs(value) < 2)
    ]
    paths = [*namesakes, *(path for path in equal if path not in namesakes)]
    if not paths:
        return 'nothing is computed from it here'
    told = [f'{path} ({value_at(cfg, path)})' for path in paths[:_MAX_NAMED]]
    return f'the run does not depend on it here; set {", ".join(told)}'


def _read_part(cfg: Config) -> dict[str, Any]:
    return {key: cfg[key] for key in cfg if key in TOP_LEVEL}


def _top(path: str) -> str:
    return path.partition('.')[0]


def _say(variables: Mapping[str, Any]) -> str:
    return ' '.join(f'{name}={value!r}' for name, value in variables.items())
