# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Memory on the CPU for what lives for one operation only."""

import math
import threading
from collections.abc import Sequence

import torch
from torch import Tensor


class _Kept(threading.local):
    def __init__(self) -> None:
        self.memory: dict[tuple[str, torch.dtype], Tensor] = {}


_kept = _Kept()


def scratch(name: str, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Return memory that the next call with this name takes again.

    Fresh memory of some megabytes comes from the system page by page, which
    takes longer than to fill it: casting the weights of a linear layer is
    four times as fast into memory that is there already.

    Args:
        name: Of what the memory is for.
        shape: Of the tensor.
        dtype: Of the tensor.

    Returns:
        A tensor with any values, each thread its own.
    """
    size = math.prod(shape)
    memory = _kept.memory.get((name, dtype))
    if memory is None or memory.numel() < size:
        # An inference tensor could not be written to in training.
        with torch.inference_mode(False):
            memory = torch.empty(size, dtype=dtype)
        _kept.memory[name, dtype] = memory
    return memory[:size].view(*shape)
