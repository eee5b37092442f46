# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""A hash of weights that does not depend on the file that holds them."""

import hashlib

import torch
from torch import nn


def weights_digest(module: nn.Module) -> str:
    """Hash the tensors of a module, independent of any file.

    Args:
        module: Any module.

    Returns:
        The SHA-256 over names, dtypes, shapes and values.
    """
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        value = value.detach().cpu().contiguous()
        digest.update(f'{name} {value.dtype} {tuple(value.shape)}\n'.encode())
        digest.update(value.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
