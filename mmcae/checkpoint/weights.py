# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Which part of a file are the weights, and whether they are weights."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mmcae.checkpoint.errors import UnreadableCheckpointError
from mmcae.checkpoint.printable import printable

# Where OpenMMLab, the authors and DeepSpeed keep the tensors.
_PLACES = ('model', 'state_dict', 'module')
# Names of tensors in OpenMMLab's models are shorter than 100 characters.
_LONGEST = 500
_REMEDY = 'Give a file that was written by saving a state_dict of tensors.'


def state_dict_of(checkpoint: Mapping[str, Any]) -> Mapping[str, Any]:
    """Find the state dict in a checkpoint of any layout, unchecked."""
    for place in _PLACES:
        inner = checkpoint.get(place)
        if isinstance(inner, Mapping):
            checkpoint = inner
    return checkpoint


def meta_of(checkpoint: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a checkpoint says about itself; empty if it says nothing."""
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
        UnreadableCheckpointError: If there is none, or if it holds anything
            but tensors under names that can be shown.
    """
    _inner_of(checkpoint, name)
    found = state_dict_of(checkpoint)
    check_tensors(found, name, bare=found is checkpoint)
    return dict(found)


def check_layout(checkpoint: Mapping[str, Any], name: str) -> None:
    """Check what mmengine will take as weights of a file.

    It takes ``state_dict`` or, without one, all of the file, of which a
    caller may want a part.

    Args:
        checkpoint: What the file holds.
        name: The file's name, for messages.

    Raises:
        UnreadableCheckpointError: As of :func:`weights_of`.
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
        found: What should be names and tensors.
        name: The file's name, for messages.
        bare: Whether it is all that the file holds.

    Raises:
        UnreadableCheckpointError: If a name or a value is of another kind.
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
            'it has no state_dict, only '
            + ', '.join(printable(key) for key in list(found)[:5]),
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
                f'its names must be strings, and {printable(key)} is a '
                f'{type(key).__name__}',
            )
        if not key.isprintable() or len(key) > _LONGEST:
            raise _fault(
                name,
                f'its names must be printable and not longer than {_LONGEST} '
                f'characters, and there is {printable(key)}',
            )


def _is_dense(value: Any) -> bool:
    return isinstance(value, Tensor) and value.layout is torch.strided


def _fault(name: str, fault: str) -> UnreadableCheckpointError:
    return UnreadableCheckpointError(
        f'{printable(name, 1000)} holds no weights that can be used: {fault}. '
        f'{_REMEDY}'
    )
