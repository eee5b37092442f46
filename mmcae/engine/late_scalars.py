# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Log values that stay on their device until they are needed."""

import torch
from mmengine.logging import MessageHub
from torch import Tensor


class LateScalars:
    """Values on their way to a message hub.

    Reading a value from a GPU (``.item()``) waits for all work that it still
    has. Values are kept here instead, and all are read at once.

    Args:
        hub: Where they go.
    """

    def __init__(self, hub: MessageHub) -> None:
        self._hub = hub
        self._waiting: list[tuple[str, Tensor]] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, key: str, value: Tensor) -> None:
        """Keep a value, a tensor of one element."""
        self._waiting.append((key, value.detach().reshape(())))

    def flush(self) -> list[tuple[str, float]]:
        """Read all values and hand them on, in their order.

        Returns:
            Key and value of each.
        """
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return []
        numbers = torch.stack([value.float() for _, value in waiting])
        read = [
            (key, number)
            for (key, _), number in zip(waiting, numbers.tolist(), strict=True)
        ]
        for key, number in read:
            self._hub.update_scalar(key, number)
        return read
