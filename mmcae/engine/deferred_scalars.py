# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Log values that stay on the GPU until the logger needs them.

``tensor.item()`` makes the host wait until the GPU has finished all queued
work, so an iteration must not read a value. Instead:

- `RuntimeInfoHook` creates one `DeferredScalars` before training and gives it
  to the optimizer wrapper (its attribute ``deferred_scalars``).
- After each iteration the hook adds the losses, and after each clipping the
  wrapper adds the norm of the gradients.
- The hook reads all values at once, just before `LoggerHook` logs and before a
  checkpoint is saved.

`NonFiniteHook` does not wait for that.
"""

import math

import torch
from mmengine.logging import MessageHub
from torch import Tensor


class DeferredScalars:
    """Values that are kept as tensors and reach a message hub together.

    Args:
        hub: The message hub that gets the values.
    """

    def __init__(self, hub: MessageHub) -> None:
        self._hub = hub
        self._pending: list[tuple[str, Tensor]] = []

    def __len__(self) -> int:
        return len(self._pending)

    def add(self, key: str, value: Tensor) -> None:
        """Keep a value, a tensor of one element, without reading it."""
        self._pending.append((key, value.detach().reshape(())))

    def flush(self) -> None:
        """Read all values and pass the finite ones to the hub, in order.

        One value that is not finite would spoil the averages of many lines of
        the log, and would be saved with them.
        """
        pending, self._pending = self._pending, []
        if not pending:
            return
        numbers = torch.stack([value.float() for _, value in pending])
        for (key, _), number in zip(pending, numbers.tolist(), strict=True):
            if math.isfinite(number):
                self._hub.update_scalar(key, number)
