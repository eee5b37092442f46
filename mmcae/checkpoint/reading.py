# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Read a local checkpoint as data; the names that other rooms import."""

import hashlib
import os
import warnings
from importlib import import_module
from typing import Any

from mmcae.checkpoint.decoding import decode_checkpoint, decode_file
from mmcae.checkpoint.download import DownloadError
from mmcae.checkpoint.errors import (
    UnreadableCheckpointError,
    UnsafeCheckpointError,
)
from mmcae.checkpoint.files import sha256_of
from mmcae.checkpoint.packaged import local_file
from mmcae.checkpoint.tensors import MapLocation
from mmcae.checkpoint.writing import write_weights

__all__ = [
    'DownloadError',
    'UnreadableCheckpointError',
    'UnsafeCheckpointError',
    'read_checkpoint',
    'read_with_digest',
    'sha256_of',
    'write_weights',
]


def read_checkpoint(
    path: str | os.PathLike, map_location: MapLocation = 'cpu'
) -> dict:
    """Read a checkpoint without executing anything in it.

    ``.safetensors`` files become ``{'state_dict': ..., 'meta': ...}``. All
    other files are read by mmcae's own reader, so the result does not depend
    on the version of torch. Sizes are compared with the bytes of the file
    before a tensor is made, and a file may only use the names of
    :mod:`mmcae.checkpoint.allow_list`.

    Args:
        path: A local file, or ``mmcae://NAME`` for weights of the package.
        map_location: As for ``torch.load``.

    Returns:
        The content of the file.

    Raises:
        FileNotFoundError: If there is no such file.
        UnsafeCheckpointError: If the file needs code to be read.
        UnreadableCheckpointError: If it is damaged or not a checkpoint.
    """
    path = local_file(path)
    with open(path, 'rb') as file:
        return decode_file(file, str(path), map_location)


def read_with_digest(path: str | os.PathLike) -> tuple[dict, str]:
    """Read a checkpoint and the SHA-256 of exactly the bytes that were read.

    Args:
        path: As for :func:`read_checkpoint`.

    Returns:
        The content, as from :func:`read_checkpoint`, and 64 hexadecimal
        digits.

    Raises:
        As :func:`read_checkpoint`.
    """
    path = local_file(path)
    content = path.read_bytes()
    checkpoint = decode_checkpoint(content, str(path))
    return checkpoint, hashlib.sha256(content).hexdigest()


# Functions that moved to another file of this room.
_MOVED = {
    'compare_state_dicts': 'mmcae.checkpoint.weights',
    'load_tokenizer_weights': 'mmcae.checkpoint.tokenizer_weights',
    'register_safe_loader': 'mmcae.checkpoint.mmengine_loader',
}


def __getattr__(name: str) -> Any:
    if name not in _MOVED:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    warnings.warn(
        f'{__name__}.{name} moved to {_MOVED[name]}; the old place works '
        'until mmcae 0.2.',
        DeprecationWarning,
        stacklevel=2,
    )
    return getattr(import_module(_MOVED[name]), name)
