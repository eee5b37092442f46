# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Find the weights in a file, and check that they are tensors with names."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mmcae.checkpoint.errors import UnreadableCheckpointError
from mmcae.checkpoint.printable import printable, printable_names

# OpenMMLab, the authors and DeepSpeed store the tensors under these keys.
_STATE_DICT_KEYS = ('model', 'state_dict', 'module')
# Tensor names in OpenMMLab's models have fewer than 100 characters.
_MAX_NAME = 500
_REMEDY = 'Give a file that was written by saving a state_dict of tensors.'


def state_dict_of(checkpoint: Mapping[str, Any]) -> Mapping[str, Any]:
    """Find the state dict in a checkpoint of any layout; do not check it."""
    for key in _STATE_DICT_KEYS:
        inner = checkpoint.get(key)
        if isinstance(inner, Mapping):
            checkpoint = inner
    return checkpoint


def meta_of(checkpoint: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the ``meta`` of a checkpoint; empty if it has none."""
    meta = checkpoint.get('meta')
    return meta if isinstance(meta, Mapping) else {}


def weights_of(
    checkpoint: Mapping[str, Any], name: str = 'the file'
) -> dict[str, Tensor]:
    """Take the weights out of a checkpoint of any layout.

    Args:
        checkpoint: A state dict, or a checkpoint with one under ``model``,
            ``state_dict`` or ``module``.
        name: The file's name, for messages.

    Returns:
        Names and tensors.

    Raises:
        UnreadableCheckpointError: If there is no state dict, if a name is
            not printable, or if a value is not a tensor.
    """
    _inner_of(checkpoint, name)
    found = state_dict_of(checkpoint)
    check_tensors(found, name, bare=found is checkpoint)
    return dict(found)


def check_layout(checkpoint: Mapping[str, Any], name: str) -> None:
    """Check the part of a file that mmengine will use as weights.

    mmengine uses ``state_dict``. If there is none, it uses the whole file,
    and a caller may then select a part of it.

    Args:
        checkpoint: What the file holds.
        name: The file's name, for messages.

    Raises:
        UnreadableCheckpointError: As :func:`weights_of`.
    """
    inner = _inner_of(checkpoint, name)
    if inner is None:
        _check_names(checkpoint, name)
    else:
        check_tensors(inner, name)
        meta = checkpoint.get('meta', {})
        if not isinstance(meta, Mapping):
            raise _fault(
                name,
                f'its meta is a {type(meta).__name__}, not a dictionary',
            )


def check_tensors(
    found: Mapping[Any, Any], name: str, bare: bool = False
) -> None:
    """Check that a mapping is a state dict.

    Args:
        found: The mapping that should hold names and tensors.
        name: The file's name, for messages.
        bare: Whether the mapping is the whole content of the file.

    Raises:
        UnreadableCheckpointError: If a name is not a printable string, or a
            value is not a dense tensor.
    """
    _check_names(found, name)
    wrong = {
        key: value for key, value in found.items() if not _is_dense(value)
    }
    if not wrong:
        return
    if bare and len(wrong) == len(found):
        raise _fault(
            name,
            f'it has no state_dict, only {printable_names(found, 5)}',
        )
    key, value = next(iter(wrong.items()))
    kind = f'{type(value).__module__}.{type(value).__name__}'
    if isinstance(value, Tensor):
        kind = f'{value.layout} tensor'
    raise _fault(
        name,
        f'{len(wrong)} of its {len(found)} values are not dense tensors '
        f'({printable(key)}: {kind.removeprefix("builtins.")})',
    )


def _inner_of(
    checkpoint: Mapping[str, Any], name: str
) -> Mapping[str, Any] | None:
    if 'state_dict' not in checkpoint:
        return None
    inner = checkpoint['state_dict']
    if not isinstance(inner, Mapping):
        raise _fault(
            name,
            f'its state_dict is a {type(inner).__name__}, not a dictionary '
            'of tensors',
        )
    return inner


def _check_names(found: Mapping[Any, Any], name: str) -> None:
    for key in found:
        if not isinstance(key, str):
            raise _fault(
                name,
                f'its names must be strings, but {printable(key)} is of type '
                f'{type(key).__name__}',
            )
        if not key.isprintable() or len(key) > _MAX_NAME:
            raise _fault(
                name,
                f'its names must be printable and not longer than {_MAX_NAME} '
                f'characters, but there is {printable(key)}',
            )


def _is_dense(value: Any) -> bool:
    return isinstance(value, Tensor) and value.layout is torch.strided


def _fault(name: str, fault: str) -> UnreadableCheckpointError:
    return UnreadableCheckpointError(
        f'{printable(name, 1000)} holds no weights that can be used: {fault}. '
        f'{_REMEDY}'
    )


def compare_state_dicts(
    wanted: Mapping[str, Any], given: Mapping[str, Any]
) -> list[str]:
    """Say how two state dicts differ.

    Args:
        wanted: The state dict of the model.
        given: The state dict of the file.

    Returns:
        A text for each kind of difference, with the number of tensors and
        the first names; empty if keys and shapes are the same.
    """
    missing = [k for k in wanted if not isinstance(given.get(k), Tensor)]
    unexpected = [k for k in given if k not in wanted]
    shapes = [
        f'{key}: {tuple(given[key].shape)} instead of {tuple(value.shape)}'
        for key, value in wanted.items()
        if isinstance(value, Tensor)
        and isinstance(given.get(key), Tensor)
        and given[key].shape != value.shape
    ]
    return [
        f'{len(names)} {what} ({printable_names(names)})'
        for names, what in (
            (missing, f'of {len(wanted)} tensors missing'),
            (unexpected, 'unexpected'),
            (shapes, 'of another shape'),
        )
        if names
    ]
