# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Count the bytes that a forward pass keeps for the backward pass."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor


def saved_bytes(
    forward: Callable[[], Tensor], weights: Iterable[Tensor]
) -> int:
    """Add up the storages that autograd saves; each counts once.

    Args:
        forward: Computes a loss.
        weights: Tensors that do not count, because they exist without the
            pass too. They must stay alive during the pass: if one were freed,
            an activation could get its address, and would not be counted.

    Returns:
        Number of bytes.
    """
    known = {w.untyped_storage()._cdata for w in weights}
    kept: dict[int, torch.UntypedStorage] = {}  # keeps addresses unique

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
