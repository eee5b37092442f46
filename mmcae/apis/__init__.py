# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Functions for scripts and notebooks."""

from importlib import import_module
from typing import Any

import mmcae.namespace_guard  # noqa: F401
from mmcae.zoo.model_zoo import register_zoo

# `import mmcae` imports this file. These modules are imported at first use, so
# that it stays fast.
_HOMES = {
    'Reconstruction': 'mmcae.apis.reconstruction',
    'extract_features': 'mmcae.apis.features',
    'pool_tokens': 'mmcae.apis.features',
    'reconstruct': 'mmcae.apis.reconstruction',
}

__all__ = [
    'Reconstruction',
    'extract_features',
    'pool_tokens',
    'reconstruct',
    'register_zoo',
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(_HOMES[name]), name)
