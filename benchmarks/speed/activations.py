# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Bytes that a forward pass keeps for the backward pass."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor


def saved_bytes(
    forward: Callable[[], Tensor], weights: Iterable[Tensor]
) -> int:
    """Sum the storages that autograd saves, each once.

    Args:
        forward: Computes a loss.
        weights: Tensors that are there anyway. They must be the same
            objects all through the pass: what the pass frees could lend its
            address to an activation.
    """
    known = {w.untyped_storage()._cdata for w in weights}
    kept: dict[int, torch.UntypedStorage] = {}  # alive: addresses stay unique

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in known:
            kept[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = forward()
    total = sum(storage.nbytes() for storage in kept.values())
    del loss
    return total
