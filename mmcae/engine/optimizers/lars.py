# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""LARS (arXiv 1708.03888) as MAE's protocol of linear probing uses it."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from mmcae.registry import OPTIMIZERS


def trust_ratio(
    parameter: Tensor, update: Tensor, trust_coefficient: float
) -> Tensor:
    """Compute the scale of an update from the norm of its parameter.

    Args:
        parameter: The parameter, of any shape.
        update: Its gradient plus weight decay, of the same shape.
        trust_coefficient: Norm of the scaled update, divided by the norm of
            the parameter.

    Returns:
        A scalar on the parameter's device; 1 if either norm is 0.
    """
    norm, step = parameter.norm(), update.norm()
    ratio = trust_coefficient * norm / step
    return torch.where((norm > 0) & (step > 0), ratio, ratio.new_ones(()))


@OPTIMIZERS.register_module()
class LARS(Optimizer):
    """SGD with momentum that scales the update of each tensor.

    Tensors with one dimension (biases, norms) are neither scaled nor
    decayed. The learning rate multiplies the momentum buffer, not the updates
    that are added to it, so a change of the rate has its full effect at once.
    mmpretrain's ``LARS`` differs in all three points, and adds an epsilon to
    the ratio.

    Args:
        params: Parameters or groups of them.
        lr: Learning rate.
        momentum: Momentum factor.
        weight_decay: Decay added to the gradient before it is scaled.
        trust_coefficient: See :func:`trust_ratio`.

    Raises:
        ValueError: If a number is negative; the message names it.
    """

    #: A step changes no number if the attribute ``found_inf`` is 1, as in
    #: PyTorch's fused optimizers.
    skips_found_inf = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust_coefficient: float = 0.001,
    ) -> None:
        defaults = dict(
            lr=lr,
            momentum=momentum,
            weight_decay=weight_decay,
            trust_coefficient=trust_coefficient,
        )
        for name, value in defaults.items():
            if value < 0:
                raise ValueError(f'LARS: {name}={value} must not be negative')
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable | None = None) -> Any:  # type: ignore[override]
        """Take one step.

        Args:
            closure: A function that evaluates the model again and returns the
                loss.

        Returns:
            The loss, if there is a closure.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group['params']:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)
        return loss

    def _update(self, parameter: Tensor, update: Tensor, group: dict) -> None:
        if parameter.ndim > 1:
            update = update.add(parameter, alpha=group['weight_decay'])
            update = update * trust_ratio(
                parameter, update, group['trust_coefficient']
            )
        state = self.state[parameter]
        if 'momentum_buffer' not in state:
            state['momentum_buffer'] = torch.zeros_like(parameter)
        buffer = state['momentum_buffer']
        found_inf: Tensor | None = getattr(self, 'found_inf', None)
        if found_inf is None:
            buffer.mul_(group['momentum']).add_(update)
            parameter.add_(buffer, alpha=-group['lr'])
            return
        skip = found_inf != 0
        moved = buffer.mul(group['momentum']).add_(update)
        buffer.copy_(torch.where(skip, buffer, moved))
        moved = parameter.add(buffer, alpha=-group['lr'])
        parameter.copy_(torch.where(skip, parameter, moved))
