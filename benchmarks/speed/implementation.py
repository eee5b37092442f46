# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The interface of an implementation of CAE that is measured."""

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
        name: Name of the component, the same in every implementation.
        forward: Computes the component from inputs that were made before.
        backward: Whether a step computes gradients of the result.
    """

    name: str
    forward: Callable[[], Tensor | None]
    backward: bool = True


class Implementation(ABC):
    """A model and its optimizer, which can train on a `Batch`.

    Args:
        precision: ``'fp32'``, or the precision of autocast.
        device: Where the model computes.
    """

    name: str
    model: nn.Module
    optimizer: torch.optim.Optimizer

    def __init__(self, precision: str, device: torch.device) -> None:
        self.precision, self.device = precision, device

    @abstractmethod
    def loss(self, batch: Batch) -> Tensor:
        """The training loss of a batch."""

    @abstractmethod
    def step(self, batch: Batch) -> None:
        """Train on a batch: forward, backward, clipping, optimizer, upkeep."""

    @abstractmethod
    def parts(self, batch: Batch) -> list[Part]:
        """The components of a step, in the order in which they run."""

    def autocast(self) -> AbstractContextManager:
        """Autocast with the precision of the forward pass."""
        dtype = PRECISIONS[self.precision]
        return torch.autocast(
            self.device.type, dtype, enabled=dtype is not None
        )

    def weights(self) -> Iterable[Tensor]:
        """Parameters that autograd may save for the backward pass."""
        return (p for p in self.model.parameters() if p.requires_grad)

    def trained(self) -> list[Tensor]:
        """Parameters that have been trained in a step.

        The optimizer may hold more. mmpretrain's holds its tokenizer too,
        which never gets a gradient.
        """
        groups = self.optimizer.param_groups
        every = [p for group in groups for p in group['params']]
        return [p for p in every if p in self.optimizer.state]

    def fill_gradients(self) -> None:
        """Give each trained parameter a gradient, to time the optimizer."""
        for parameter in self.trained():
            parameter.grad = torch.full_like(parameter, 1e-3)


class MMEngineImplementation(Implementation):
    """A model that is built and trained with mmengine."""

    wrapper: OptimWrapper

    def build(self, model: ConfigDict, optim_wrapper: ConfigDict) -> None:
        """Build the model and its optimizer from their configs."""
        # mmengine would print a line for each parameter.
        MMLogger.get_current_instance().setLevel(logging.ERROR)
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            self.model = MODELS.build(model)
            self.model.init_weights()
            self.model.to(self.device).train()
            self.wrapper = build_optim_wrapper(self.model, optim_wrapper)
        self.optimizer = self.wrapper.optimizer

    @abstractmethod
    def arguments(self, batch: Batch) -> dict[str, Any]:
        """Arguments of the model's ``loss`` for a batch."""

    def loss(self, batch: Batch) -> Tensor:
        with self.wrapper.optim_context(self.model):
            losses = self.model.loss(**self.arguments(batch))
            return self.model.parse_losses(losses)[0]

    def step(self, batch: Batch) -> None:
        self.wrapper.update_params(self.loss(batch))

    def optimizer_parts(self) -> list[Part]:
        """Two components: clipping, and the rest of the optimizer's step."""

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
    """A copy of a tensor, at which gradients end."""
    return tensor.detach().clone().requires_grad_()
