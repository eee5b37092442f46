# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The names that scripts import, and the check of versions.

A name is imported when it is first used, because the version check is part
of this package and must work where torch or mmengine is missing.
"""

from importlib import import_module
from typing import Any

import mmcae.namespace_guard  # noqa: F401

_HOMES = {
    'convert_if_official': 'mmcae.checkpoint.official',
    'from_official': 'mmcae.checkpoint.official',
    'to_official': 'mmcae.checkpoint.official',
    'check_versions': 'mmcae.utils.version_check',
    'find_config': 'mmcae.config.search_path',
    'load_config': 'mmcae.config.overrides',
    'register_all_modules': 'mmcae.utils.setup_env',
    'setup_cpu_distributed': 'mmcae.launch.distributed',
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
