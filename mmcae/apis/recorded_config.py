# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The config inside a checkpoint, read as data and never executed.

A training run writes its config into ``checkpoint['meta']['cfg']``, as Python
text. Whoever wrote the file wrote the text, so it is parsed, and a ``type``
in it may only name a class that is registered already: mmengine's registry
would import and call any function of any module.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from mmengine import registry as mmengine_registry
from mmengine.config import Config
from mmpretrain import registry as mmpretrain_registry

from mmcae.checkpoint.config_literals import (
    MAX_TEXT,
    PARSE_ERRORS,
    literal_config,
)
from mmcae.checkpoint.errors import UnreadableCheckpointError
from mmcae.checkpoint.printable import printable
from mmcae.checkpoint.weights import meta_of
from mmcae.registry import DATASETS, MODELS, TRANSFORMS

_SCOPES = ('mmcae', 'mmpretrain', 'mmengine')
_REGISTRIES = (
    *(MODELS, DATASETS, TRANSFORMS),
    *(
        getattr(package, kind)
        for package in (mmpretrain_registry, mmengine_registry)
        for kind in ('MODELS', 'DATASETS', 'TRANSFORMS')
    ),
    mmengine_registry.WEIGHT_INITIALIZERS,
)


def recorded_config(
    checkpoint: Mapping[str, Any], name: str = 'the file'
) -> Config | None:
    """Read the config that a training run wrote into its checkpoint.

    Args:
        checkpoint: The content of a file, as `read_checkpoint` returns it.
        name: The file's name, for messages.

    Returns:
        The config. None if the file has none, or one without a model.

    Raises:
        UnreadableCheckpointError: If the config is not made of literals, or
            its model names a class that neither mmcae nor mmpretrain has.
    """
    text = meta_of(checkpoint).get('cfg')
    if not isinstance(text, str) or not text.strip():
        return None
    if len(text) > MAX_TEXT:
        raise _fault(name, f'is too long ({len(text):,} characters)')
    try:
        values = literal_config(text)
    except PARSE_ERRORS as error:
        raise _fault(name, f'is not made of literals ({error})') from None
    if not isinstance(values.get('model'), dict):
        return None
    check_types(values['model'], name)
    check_types(values.get('data_preprocessor'), name)
    return Config(values)


def check_types(part: Any, name: str) -> None:
    """Check a part of a recorded config before it is built.

    Args:
        part: Such as the model or the dataset.
        name: The file's name, for messages.

    Raises:
        UnreadableCheckpointError: If it names a class that is not registered
            in mmcae, mmpretrain, mmcv or mmengine.
    """
    for kind in _types(part):
        if not _is_registered(kind):
            raise _fault(
                name,
                f'builds {printable(kind)}, which is not a class of mmcae or '
                'mmpretrain',
            )


def _types(value: Any) -> Iterator[Any]:
    """Every ``type`` and ``_scope_`` of a nested config."""
    if isinstance(value, dict):
        scope = value.get('_scope_', 'mmcae')
        if scope not in _SCOPES:
            yield f'_scope_={scope!r}'
        if 'type' in value:
            yield value['type']
        value = value.values()
    elif not isinstance(value, list | tuple):
        return
    for item in value:
        yield from _types(item)


def _is_registered(kind: Any) -> bool:
    if not isinstance(kind, str):
        return False
    scope, _, name = kind.rpartition('.')
    known = any(name in registry.module_dict for registry in _REGISTRIES)
    return known and (not scope or scope in _SCOPES)


def _fault(name: str, fault: str) -> UnreadableCheckpointError:
    return UnreadableCheckpointError(
        f'the config that is stored in {printable(name, 1000)} {fault}; give '
        'the config as a file or by its name'
    )
