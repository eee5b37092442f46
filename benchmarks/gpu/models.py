# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Our implementation as the checks use it: as a Runner would train it."""

from pathlib import Path
from typing import Any

import torch
from speed.batches import Batch
from speed.ours import Ours
from speed.sizes import Size, load_size
from torch import nn

from mmcae.engine.deferred_scalars import DeferredScalars

from .settings import Settings

TESTS = Path(__file__).resolve().parents[2] / 'tests'


class AsItIs(nn.Module):
    """In place of a data preprocessor: batches are made on the device.

    mmpretrain's default one would move masks there, and the host wait.
    """

    def forward(self, data: dict, training: bool = False) -> dict:
        return data


class Trained(Ours):
    """`Ours` that reads no loss and no norm, like a run on a GPU.

    There `RuntimeInfoHook` reads the values of many steps at once.

    Args:
        *args: Arguments of `Ours`.
        compiled: Options of ``torch.compile`` for ``train_step``, as of the
            config's ``compile``; None: it is not compiled.
        **kwargs: Further arguments of `Ours`.
    """

    def __init__(
        self, *args: Any, compiled: dict | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.model.data_preprocessor = AsItIs()
        self.train_step = self.model.train_step
        if compiled is not None:
            self.train_step = torch.compile(self.train_step, **compiled)
        self.scalars = DeferredScalars(self.wrapper.message_hub)
        self.wrapper.deferred_scalars = self.scalars
        for group in self.optimizer.param_groups:
            group['lr'] = 1e-6  # noise must not break the weights

    def step(self, batch: Batch) -> None:
        self.train_step(self.arguments(batch), self.wrapper)


def size_of(settings: Settings, precision: str) -> Size:
    """The recipe that is measured, its tokenizer in one precision."""
    size = load_size(settings.arch)
    if 'DALLEEncoder' in size.model.target_generator.type:
        size.model.target_generator.precision = precision
    return size


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the GPU's memory is full."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and 'out of memory' in str(error)
    )
