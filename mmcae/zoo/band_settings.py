# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The settings that set the curve of a loss, and how two runs differ."""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

#: A learning rate that differs by more than this factor is compared with the
#: band: it is the most frequent reason for a wrong curve. With a smaller
#: difference, the band is that of another config.
LARGE_FACTOR = 5.0

_PARTS = ('model', 'data_preprocessor', 'optim_wrapper', 'param_scheduler')
# Where files lie, and what changes the speed but not the curve.
_NOT_COMPARED = re.compile(
    r'.*\b(_scope_|_delete_|checkpoint|data_root|list_file|ann_file|sha256|'
    r'init_cfg|backend|fused|clips_in_step|constructor|max_unreadable)\b.*'
)
# Wrong values of these are mistakes that the curve shows.
_MISTAKES = re.compile(
    r'.*(data_preprocessor\.(second_)?(mean|std)|num_masking_patches'
    r'|mask_ratio)\b.*'
)
_LR = 'optim_wrapper.optimizer.lr'


def curve_settings(
    config: Mapping[str, Any], images: int | None, processes: int = 1
) -> dict[str, Any]:
    """The settings of a run that set its curve, by dotted key.

    Seeds, paths, and settings that only change the speed are left out.

    Args:
        config: The config of the run, plain values.
        images: How many training images there are; None if it is not known.
        processes: How many processes train together.
    """
    loader = config.get('train_dataloader') or {}
    dataset = loader.get('dataset') or {}
    parts = {
        **{name: config.get(name) for name in _PARTS},
        'train_dataloader.batch_size': loader.get('batch_size'),
        'train_dataloader.dataset': {
            name: dataset.get(name) for name in ('type', 'pipeline', 'dataset')
        },
        'train_cfg': {
            name: (config.get('train_cfg') or {}).get(name)
            for name in ('max_epochs', 'max_iters')
        },
    }
    flat: dict[str, Any] = {}
    for name, part in parts.items():
        flat |= _flat(part, name)
    flat['images'], flat['processes'] = images, processes
    return {
        key: value
        for key, value in flat.items()
        if value is not None and not _NOT_COMPARED.match(key)
    }


def digest_of(settings: Mapping[str, Any]) -> str:
    """SHA-256 of settings."""
    text = json.dumps(settings, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _flat(node: Any, prefix: str) -> dict[str, Any]:
    if isinstance(node, Mapping):
        items: Any = node.items()
    elif isinstance(node, list | tuple) and any(
        isinstance(item, Mapping) for item in node
    ):
        items = enumerate(node)
    else:
        return {prefix: _plain(node)}
    flat: dict[str, Any] = {}
    for key, value in items:
        flat |= _flat(value, f'{prefix}.{key}')
    return flat


def _plain(value: Any) -> Any:
    """A value as JSON has it, so that it can be compared with a band's."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, str | int | float | bool) or value is None:
        return value
    return str(value)


def differences(
    band: Mapping[str, Any], run: Mapping[str, Any]
) -> dict[str, tuple[Any, Any]]:
    """Settings that differ, with the value of the band and of the run."""
    # Without the number of images, such as in a report of an old run, the
    # other settings decide.
    keys = dict.fromkeys([*band, *run])
    return {
        key: (band.get(key), run.get(key))
        for key in keys
        if band.get(key) != run.get(key)
        and not (key == 'images' and key not in run)
    }


def is_mistake(key: str, values: tuple[Any, Any]) -> bool:
    """Whether a difference is one that the curve is to show."""
    if _MISTAKES.match(key):
        return True
    if key != _LR:
        return False
    old, new = values
    if not all(isinstance(v, int | float) and v > 0 for v in values):
        return False
    return not 1 / LARGE_FACTOR <= new / old <= LARGE_FACTOR
