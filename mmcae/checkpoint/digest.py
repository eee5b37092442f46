# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The identity of weights, whatever file holds them."""

import hashlib

import torch
from torch import nn


def weights_digest(module: nn.Module) -> str:
    """Hash a module's tensors, whatever file they came from.

    Args:
        module (nn.Module): Any module.

    Returns:
        str: SHA-256 over names, types, shapes and values.
    """
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        value = value.detach().cpu().contiguous()
        digest.update(f'{name} {value.dtype} {tuple(value.shape)}\n'.encode())
        digest.update(value.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
