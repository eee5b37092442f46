# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The config of a model as plain data: for config.json, and back from it."""

import json
from pathlib import Path, PurePath
from typing import Any

from mmengine.config import Config

from mmcae.apis.recorded_config import check_types, recorded_config
from mmcae.checkpoint.errors import UnreadableCheckpointError
from mmcae.checkpoint.packaged import is_packaged
from mmcae.checkpoint.printable import printable
from mmcae.config.search_path import find_config

_MAX_BYTES = 1 << 20


def training_config(
    checkpoint: str, content: dict[str, Any], config: str | None
) -> Config:
    """Find the config that a checkpoint was trained with.

    Args:
        checkpoint: What names the file.
        content: The content of the file.
        config: A config that the user gives, by path or name.

    Raises:
        ValueError: If nothing says how the model is built.
    """
    if config is not None:
        return Config.fromfile(find_config(config))
    if is_packaged(checkpoint):
        return Config.fromfile(find_config(PurePath(checkpoint).name))
    found = recorded_config(content, checkpoint)
    if found is None:
        raise ValueError(
            f'{checkpoint} does not say how its model is built: give its '
            'config, --config NAME'
        )
    return found


def plain_model(config: Config) -> dict[str, Any]:
    """Reduce a config to its model, without the paths of a machine.

    Initial weights are left out, because the repository has the trained
    ones. Of the tokenizer's file the base name stays: whoever loads the model
    to draw its predictions is then asked for this file.
    """
    model = _plain(config.model.to_dict())
    if config.get('data_preprocessor'):
        model.setdefault('data_preprocessor', _plain(config.data_preprocessor))
    init = (config.model.get('target_generator') or {}).get('init_cfg')
    if isinstance(init, dict) and init.get('checkpoint'):
        file = str(init['checkpoint'])
        model['target_generator']['init_cfg'] = dict(
            type='Pretrained',
            checkpoint=file if '://' in file else PurePath(file).name,
        )
    return model


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items() if k != 'init_cfg'}
    if isinstance(value, list | tuple):
        return type(value)(_plain(item) for item in value)
    if isinstance(value, str) and value.startswith(('/', '~')):
        return PurePath(value).name
    return value


def read_model_config(path: Path) -> dict[str, Any]:
    """Read the config.json of a repository.

    Args:
        path: The file. It may come from anyone.

    Returns:
        Its content; ``model`` names only classes of mmcae, mmpretrain, mmcv
        and mmengine.

    Raises:
        UnreadableCheckpointError: If it is not such a file.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError(f'it has more than {_MAX_BYTES:,} bytes')
        content = json.loads(path.read_text(encoding='utf-8'))
        if not isinstance(content['model'], dict):
            raise ValueError('its model is no dictionary')
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise UnreadableCheckpointError(
            f'{path} is not the config of a model of mmcae '
            f'({printable(str(error))})'
        ) from None
    check_types(content['model'], str(path))
    return content
