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
- `CAE` cannot stop at a broken loss that nobody has read, so the hook checks
  the losses when it reads them (`CAE.defer_loss_check`). It does so only if
  the optimizer skips steps with gradients that are not finite.
"""

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

    def flush(self) -> list[tuple[str, float]]:
        """Read all values and pass them to the hub, in the order added.

        Returns:
            The key and the value of each.
        """
        pending, self._pending = self._pending, []
        if not pending:
            return []
        numbers = torch.stack([value.float() for _, value in pending])
        read = [
            (key, number)
            for (key, _), number in zip(pending, numbers.tolist(), strict=True)
        ]
        for key, number in read:
            self._hub.update_scalar(key, number)
        return read
