# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Write weights with what is known about them."""

import json
import os
from pathlib import Path
from typing import Any

import torch

from mmcae.checkpoint.download import atomic_write, sha256_of


def write_weights(
    state_dict: dict[str, torch.Tensor],
    path: str | os.PathLike,
    meta: dict[str, Any] | None = None,
    key: str = 'state_dict',
) -> str:
    """Write weights so that the file is either complete or not there.

    Args:
        state_dict (dict[str, Tensor]): Names and tensors.
        path (str | PathLike): ``.safetensors`` or, else, a ``.pth`` file
            ``{'state_dict': ..., 'meta': ...}``.
        meta (dict, optional): What to store with them. In safetensors,
            values that are no strings become JSON, and are read back as
            they were where their key is in ``JSON_META``.
        key (str): Where a ``.pth`` file has the tensors.

    Returns:
        str: The file's SHA-256.
    """
    tensors = {k: _own_memory(v.detach()) for k, v in state_dict.items()}
    meta = meta or {}
    with atomic_write(path) as file:
        if str(path).lower().endswith('.safetensors'):
            from safetensors.torch import save

            texts = {k: _as_text(value) for k, value in meta.items()}
            file.write(save(tensors, metadata=texts))
        else:
            torch.save({key: tensors, 'meta': meta}, file)
    return sha256_of(Path(path).expanduser())


def _own_memory(value: torch.Tensor) -> torch.Tensor:
    # A part of a larger tensor is saved whole, or refused by safetensors.
    if value.untyped_storage().nbytes() != value.numel() * value.itemsize:
        value = value.clone()
    return value.contiguous()


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, default=lambda array: array.tolist())
