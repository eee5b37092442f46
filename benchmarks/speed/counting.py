# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Count the operations of a step while it runs."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import (
    flop_registry,
    sdpa_backward_flop_count,
    sdpa_flop_count,
)

_ATEN = torch.ops.aten
_CONVOLUTIONS = {_ATEN.convolution, _ATEN.convolution_backward}


def _attention(query, key, value, *_, **__) -> int:
    return sdpa_flop_count(query.shape, key.shape, value.shape)


def _attention_backward(grad, query, key, value, *_, **__) -> int:
    return sdpa_backward_flop_count(
        grad.shape, query.shape, key.shape, value.shape
    )


# PyTorch's FLOP counter has no rule for fused attention on CPUs.
_RULES: dict[Any, Callable[..., int]] = {
    **flop_registry,
    _ATEN._scaled_dot_product_flash_attention_for_cpu: _attention,
    _ATEN._scaled_dot_product_flash_attention_for_cpu_backward: (
        _attention_backward
    ),
}


class OpCounter(TorchDispatchMode):
    """Counts operations and their FLOPs (2 for a multiply-add).

    Attributes:
        ops: Number of calls by name. Views are left out, because they
            compute nothing.
        flops: FLOPs of ``'products'`` (matrix products and attention) and of
            ``'convolutions'``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.ops: Counter[str] = Counter()
        self.flops = dict(products=0, convolutions=0)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        packet = func.overloadpacket
        if not func.is_view:
            self.ops[packet.__name__] += 1
        if packet in _RULES:
            kind = 'convolutions' if packet in _CONVOLUTIONS else 'products'
            self.flops[kind] += _RULES[packet](*args, **kwargs, out_val=out)
        return out

    @property
    def total(self) -> int:
        """All FLOPs."""
        return sum(self.flops.values())


def count(function: Callable[[], Any]) -> OpCounter:
    """Call a function and count its operations."""
    with OpCounter() as counter:
        function()
    return counter
