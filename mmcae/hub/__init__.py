# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The Hugging Face Hub: push a checkpoint, and build its model again.

``pushing``
    `push_to_hub`: writes the files, compares, and uploads. Start reading
    here.
``repository``
    `save_pretrained`: the files of a repository, and `from_pretrained`.
``model_config``
    The config of a model as JSON, and back; nothing is executed.
``model_card``
    The page of the repository.
``provenance``
    Which weights of others a training began with.

``hf://OWNER/NAME`` is resolved in :mod:`mmcae.checkpoint.hub_file`, so every
function that reads a checkpoint accepts it.
"""

from importlib import import_module
from typing import Any

import mmcae.namespace_guard  # noqa: F401

# Imported at first use, because the models take seconds.
_HOMES = {
    'from_pretrained': 'mmcae.hub.repository',
    'push_to_hub': 'mmcae.hub.pushing',
    'save_pretrained': 'mmcae.hub.repository',
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(_HOMES[name]), name)
