# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""What a measured implementation of CAE offers."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.config import ConfigDict
from mmengine.logging import MMLogger
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor, nn

from .batches import Batch

PRECISIONS = dict(fp32=None, bf16=torch.bfloat16, fp16=torch.float16)


@dataclass(frozen=True)
class Part:
    """One component of a step.

    Attributes:
        name: The same in every implementation.
        forward: Computes it from inputs made beforehand.
        backward: Whether its result is differentiated.
    """

    name: str
    forward: Callable[[], Tensor | None]
    backward: bool = True


class Implementation(ABC):
    """A model and its optimizer that take the same batches as others.

    Args:
        precision: ``'fp32'``, or that of autocast.
        device: Where it computes.
    """

    name: str
    model: nn.Module
    optimizer: torch.optim.Optimizer

    def __init__(self, precision: str, device: torch.device) -> None:
        self.precision, self.device = precision, device

    @abstractmethod
    def loss(self, batch: Batch) -> Tensor:
        """The training loss, as in a step."""

    @abstractmethod
    def step(self, batch: Batch) -> None:
        """Forward, backward, clip, optimizer, and its own upkeep."""

    @abstractmethod
    def parts(self, batch: Batch) -> list[Part]:
        """The components of a step, in order."""

    def autocast(self) -> AbstractContextManager:
        """The precision of the forward pass."""
        dtype = PRECISIONS[self.precision]
        return torch.autocast(
            self.device.type, dtype, enabled=dtype is not None
        )

    def weights(self) -> Iterable[Tensor]:
        """Parameters that may be saved for backward."""
        return (p for p in self.model.parameters() if p.requires_grad)

    def trained(self) -> list[Tensor]:
        """Parameters that steps have changed.

        Not all that the optimizer has: mmpretrain's tokenizer is among
        those, but never gets a gradient.
        """
        groups = self.optimizer.param_groups
        every = [p for group in groups for p in group['params']]
        return [p for p in every if p in self.optimizer.state]

    def fill_gradients(self) -> None:
        """Give the trained parameters gradients, for the optimizer."""
        for parameter in self.trained():
            parameter.grad = torch.full_like(parameter, 1e-3)


class MMEngineImplementation(Implementation):
    """A model of OpenMMLab's kind, trained through an optimizer wrapper."""

    wrapper: OptimWrapper

    def build(self, model: ConfigDict, optim_wrapper: ConfigDict) -> None:
        """Build model and optimizer from a config."""
        # mmengine prints lines for each parameter.
        MMLogger.get_current_instance().setLevel(logging.ERROR)
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            self.model = MODELS.build(model)
            self.model.init_weights()
            self.model.to(self.device).train()
            self.wrapper = build_optim_wrapper(self.model, optim_wrapper)
        self.optimizer = self.wrapper.optimizer

    @abstractmethod
    def arguments(self, batch: Batch) -> dict[str, Any]:
        """Arguments of the model's ``loss``."""

    def loss(self, batch: Batch) -> Tensor:
        with self.wrapper.optim_context(self.model):
            losses = self.model.loss(**self.arguments(batch))
            return self.model.parse_losses(losses)[0]

    def step(self, batch: Batch) -> None:
        self.wrapper.update_params(self.loss(batch))

    def optimizer_parts(self) -> list[Part]:
        """Clipping, and everything else of the optimizer's step."""

        def update() -> None:
            clip = self.wrapper.clip_grad_kwargs
            self.wrapper.clip_grad_kwargs = None
            self.wrapper.step()
            self.wrapper.clip_grad_kwargs = clip

        return [
            Part('clip', self.wrapper._clip_grad, backward=False),
            Part('optimizer', update, backward=False),
        ]


def leaf(tensor: Tensor) -> Tensor:
    """A copy that collects its own gradient."""
    return tensor.detach().clone().requires_grad_()
