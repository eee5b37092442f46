# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Write weights and metadata to a new file."""

import json
import os
from pathlib import Path
from typing import Any

import torch

from mmcae.checkpoint.files import atomic_write, sha256_of


def write_weights(
    state_dict: dict[str, torch.Tensor],
    path: str | os.PathLike,
    meta: dict[str, Any] | None = None,
    key: str = 'state_dict',
) -> str:
    """Write weights; the file is complete, or it is not created.

    Args:
        state_dict: Names and tensors.
        path: A name that ends with ``.safetensors`` selects this format. All
            others become a file of ``torch.save`` with
            ``{'state_dict': ..., 'meta': ...}``.
        meta: Metadata. In safetensors, values that are not strings are
            stored as JSON. Reading decodes those whose key is in
            `safetensors_file.JSON_META`.
        key: The key of the tensors in a file of ``torch.save``.

    Returns:
        The SHA-256 of the file.
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
    # For a view of a larger tensor, torch would save all of that tensor, and
    # safetensors would refuse it.
    if value.untyped_storage().nbytes() != value.numel() * value.itemsize:
        value = value.clone()
    return value.contiguous()


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, default=lambda array: array.tolist())
