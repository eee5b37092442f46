# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Gradient clipping, and skipping, inside the step of an optimizer."""

from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


def clip_in_step(
    optimizer: Optimizer, max_norm: float, norm_type: float = 2.0
) -> Tensor | None:
    """Make the next step of an optimizer clip the gradients.

    A fused optimizer divides gradients by ``grad_scale`` as it reads them,
    and changes no weight if ``found_inf`` is set. PyTorch's loss scalers use
    these two attributes. With them, clipping only has to compute the norm; it
    does not have to write scaled gradients. A step with a gradient that is
    not finite leaves all weights as they are.

    Args:
        optimizer: The optimizer. It gets the two attributes, and `unclip`
            removes them after the step.
        max_norm: Largest norm of all gradients, taken as one vector.
        norm_type: Order of the norm; 2 is the Euclidean norm.

    Returns:
        The norm before clipping. None, without any change, if the optimizer
        is not fused, or the gradients are not plain float32 tensors on one
        device.
    """
    grads = gradients(optimizer)
    plain = all(type(g) is Tensor and g.dtype == torch.float32 for g in grads)
    one_device = len({g.device for g in grads}) == 1
    if not (is_fused(optimizer) and plain and one_device):
        return None
    norm = torch.nn.utils.get_total_norm(grads, norm_type)
    state: Any = optimizer
    scale = ((norm + 1e-6) / max_norm).clamp(min=1.0)
    # With a scale, the optimizer also writes the scaled gradients, so leave it
    # out where it is 1.
    if not (is_free_to_read(scale) and scale == 1):
        state.grad_scale = scale
    state.found_inf = (~norm.isfinite()).float()
    return norm


def is_free_to_read(value: Tensor) -> bool:
    """Whether the host gets a number without waiting for a device."""
    return value.is_cpu


def gradients(optimizer: Optimizer) -> list[Tensor]:
    """Return the gradients of an optimizer's parameters that have one."""
    return [
        p.grad
        for group in optimizer.param_groups
        for p in group['params']
        if p.grad is not None
    ]


def gradient_norm(optimizer: Optimizer) -> Tensor | None:
    """Compute the Euclidean norm of all gradients, without reading it.

    Returns:
        A scalar, which is finite only if every gradient is; None if there is
        no gradient.
    """
    grads = gradients(optimizer)
    return torch.nn.utils.get_total_norm(grads) if grads else None


def skips_on_device(optimizer: Optimizer) -> bool:
    """Whether a step changes nothing if ``optimizer.found_inf`` is 1.

    Then the host need not know whether the gradients are finite. PyTorch's
    fused SGD is not among these optimizers: if its first step is skipped, its
    momentum is memory that nobody has written.
    """
    if hasattr(optimizer, 'skips_found_inf'):  # our own
        return optimizer.skips_found_inf
    return is_fused(optimizer) and not isinstance(optimizer, torch.optim.SGD)


def is_fused(optimizer: Optimizer) -> bool:
    """Whether every parameter group uses the fused kernel."""
    return all(group.get('fused') for group in optimizer.param_groups)


def unclip(optimizer: Optimizer) -> None:
    """Remove the attributes that `clip_in_step` set."""
    for name in ('grad_scale', 'found_inf'):
        if hasattr(optimizer, name):
            delattr(optimizer, name)
