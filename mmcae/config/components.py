# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Check every dict of a config against the class that it builds.

mmengine builds the parts of a run one after another, and reports a wrong name
where it meets it: some before the training, some in the middle of it, some
never. Here all dicts are checked before the first of them is built. What a
dict may hold is read from the registries and from the signatures of the
classes, so nothing has to be listed for a new component.
"""

import re
from collections.abc import Iterable
from typing import Any

from mmcae.config import keys as keys
from mmcae.config.annotations import kinds_of_arguments
from mmcae.config.check import (
    ConfigError,
    accepted_keys,
    registries,
    resolve_type,
)
from mmcae.config.key_paths import value_at, walk
from mmcae.config.nearest import misspelt, nearest

#: Dicts with names of the user's own choice, or with keys that are read one
#: by one and a ``type`` that is no class.
_NO_COMPONENTS = re.compile(
    r'(?:.*\.)?(?:metainfo|custom_keys|hparams|backend_args|file_client_args)'
    r'(?:\..*)?'
)

#: Where a function takes keys of its own out before it builds the dict, or
#: where other names than the listed ones are possible, too. Only a
#: misspelling is refused there.
_OPEN = re.compile(
    r'default_hooks|optim_wrapper\.paramwise_cfg|(?:tta_)?model\..*_cfg'
)

#: Where a dict without a ``type`` cannot be built.
_TYPED = re.compile(
    r'model|optim_wrapper\.optimizer|param_scheduler\.\d+|custom_hooks\.\d+'
    r'|(?:train|val|test)_dataloader\.(?:dataset(?:\.pipeline\.\d+)?|sampler)'
)

#: Where the registry is known from the path, so that a type that it does not
#: have is wrong. Elsewhere only a misspelling is refused; the constructor
#: around it reports the rest.
_SLOTS = re.compile(
    r"""model | strategy | visualizer | log_processor
    | optim_wrapper\.constructor
    | (train|val|test)_dataloader\.
      (dataset(\.dataset)*(\.pipeline\.\d+)? | sampler | batch_sampler
       | collate_fn)
    | optim_wrapper(\.optimizer)? | param_scheduler(\.\d+)?
    | (default|custom)_hooks\.\w+ | (train|val|test)_cfg
    | (val|test)_evaluator(\.\d+)? | (visualizer\.)?vis_backends\.\d+""",
    re.VERBOSE,
)


def check_components(cfg: Any) -> None:
    """Refuse types, keys and values that no class of the config accepts.

    Args:
        cfg: A complete config, options applied. The packages of its scopes
            are imported.

    Raises:
        ConfigError: Names the key, its value, and the nearest valid spelling
            or what the value must be.
    """
    _check_scope(cfg)
    for path, node in walk(cfg):
        if path.partition('.')[0] not in keys.TOP_LEVEL:
            continue
        if not isinstance(node, dict) or _NO_COMPONENTS.fullmatch(path):
            continue
        if 'type' in node and path not in keys.UNTYPED:
            _check_component(cfg, path, node)
        elif _TYPED.fullmatch(path):
            raise ConfigError(f"{path}: has no 'type', the name of a class")
        else:
            _check_names(cfg, path, node)
    constructor = value_at(cfg, 'optim_wrapper.constructor')
    if isinstance(constructor, str):
        path, scope = 'optim_wrapper.constructor', _scope(cfg)
        if resolve_type(constructor, scope, path) is None:
            _refuse_type(path, constructor, scope)


def _check_scope(cfg: Any) -> None:
    from mmengine.config.utils import MODULE2PACKAGE

    scope = cfg.get('default_scope')
    if scope is not None and not isinstance(scope, str):
        raise ConfigError(f'default_scope={scope!r}: must be text or None')
    known = {*MODULE2PACKAGE, 'mmengine', 'mmcae'}
    meant = misspelt(scope, known) if scope else None
    if meant and scope not in known:
        raise ConfigError(
            f"default_scope='{scope}': there is no such package; did you "
            f"mean '{meant}'?"
        )


def _scope(cfg: Any) -> str:
    return cfg.get('default_scope') or 'mmengine'


def _check_component(cfg: Any, path: str, node: dict) -> None:
    kind = node['type']
    scope = node.get('_scope_') or _scope(cfg)
    if isinstance(kind, str):
        found = resolve_type(kind, scope, path)
        if found is None:
            _refuse_type(path, kind, scope)
            return
        target = found[0]
    elif callable(kind):
        target = kind
    else:
        raise ConfigError(f'{path}.type={kind!r}: must be the name of a class')
    _check_names(cfg, path, node, target)
    for name, wanted in kinds_of_arguments(target).items():
        if name in node and not wanted.accepts(node[name]):
            raise ConfigError(
                f'{path}.{name}={node[name]!r}: must be {wanted.wanted}'
            )


def _check_names(cfg: Any, path: str, node: dict, owner: Any = None) -> None:
    """Check the keys of a dict whose class, or list of keys, is known."""
    known, is_open = accepted_keys(node, path, cfg)
    is_open |= bool(_OPEN.fullmatch(path))
    if path.startswith(('model.', 'tta_model.')):
        # Models of other packages take keys out of the dicts of their parts.
        is_open |= not getattr(owner, '__module__', '').startswith('mmcae.')
    if not known:
        return
    for name in node:
        if name in known:
            continue
        near = misspelt(name, known) if is_open else nearest(name, known)
        if is_open and not near:
            continue
        hint = f"; did you mean '{path}.{near}'?" if near else ''
        if not near:
            names = sorted(known - {'type', '_scope_'})
            hint = f'; known there: {", ".join(names)}'
        reader = 'nothing reads it'
        if owner is not None:
            reader = f'{owner.__name__} has no such argument'
        raise ConfigError(f'{path}.{name}={node[name]!r}: {reader}{hint}')


def _refuse_type(path: str, kind: str, scope: str) -> None:
    names = set(_registered(path, kind, scope))
    is_slot = _SLOTS.fullmatch(path)
    near = nearest(kind, names) if is_slot else misspelt(kind, names)
    if not near and not is_slot:
        return
    hint = 'is the module that defines it in custom_imports?'
    if near:
        hint = f"did you mean '{near}'?"
    key = path if path.endswith('.constructor') else f'{path}.type'
    raise ConfigError(
        f"{key}='{kind}': no class of this name is registered; {hint}"
    )


def _registered(path: str, kind: str, scope: str) -> Iterable[str]:
    """The names that the first registry for a path has, as a config's."""
    prefix, _, _ = kind.rpartition('.')
    for registry in registries(path)[:1]:
        children = {child.scope: child for child in _below(registry)}
        if prefix:
            for name in getattr(children.get(prefix), 'module_dict', ()):
                yield f'{prefix}.{name}'
            if prefix not in children:  # the scope is the mistake
                for child in children.values():
                    for name in child.module_dict:
                        yield f'{child.scope}.{name}'
            continue
        for child in (registry, children.get(scope)):
            yield from getattr(child, 'module_dict', ())


def _below(registry: Any) -> Iterable[Any]:
    for child in registry.children.values():
        yield child
        yield from _below(child)
