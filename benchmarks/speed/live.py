# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Find the largest number of bytes that tensors hold at the same time."""

import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):
    """Follows each storage from the operation that makes it to its end.

    Args:
        known: Tensors that do not count, because they exist before.

    Attributes:
        peak: The largest number of bytes held at the same time.
    """

    def __init__(self, known: Iterable[Tensor]) -> None:
        super().__init__()
        self.peak = self._now = 0
        self._known = {t.untyped_storage()._cdata for t in known}
        self._alive: dict[int, int] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for value in tree_leaves(out):
            if isinstance(value, Tensor):
                self._follow(value.untyped_storage())
        return out

    def _follow(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._known or key in self._alive:
            return
        self._alive[key] = storage.nbytes()
        self._now += storage.nbytes()
        self.peak = max(self.peak, self._now)
        weakref.finalize(storage, self._forget, key)

    def _forget(self, key: int) -> None:
        self._now -= self._alive.pop(key, 0)


def peak_live_bytes(
    function: Callable[[], Any], known: Iterable[Tensor]
) -> int:
    """Call a function; returns the peak of its tensors' bytes.

    Args:
        function: What to call.
        known: Tensors that do not count, because they exist before.
    """
    with LiveBytes(known) as live:
        function()
    return live.peak
