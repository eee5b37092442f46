# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Gradient clipping inside the step of a fused optimizer."""

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
    grads = [
        p.grad
        for group in optimizer.param_groups
        for p in group['params']
        if p.grad is not None
    ]
    plain = all(type(g) is Tensor and g.dtype == torch.float32 for g in grads)
    one_device = len({g.device for g in grads}) == 1
    if not (is_fused(optimizer) and plain and one_device):
        return None
    norm = torch.nn.utils.get_total_norm(grads, norm_type)
    state: Any = optimizer
    scale = ((norm + 1e-6) / max_norm).clamp(min=1.0)
    # With a scale, the optimizer also writes the scaled gradients, so leave it
    # out where it is 1. On GPUs, reading the scale would wait for the GPU.
    if not (scale.is_cpu and scale == 1):
        state.grad_scale = scale
    state.found_inf = (~norm.isfinite()).float()
    return norm


def is_fused(optimizer: Optimizer) -> bool:
    """Whether every parameter group uses the fused kernel."""
    return all(group.get('fused') for group in optimizer.param_groups)


def unclip(optimizer: Optimizer) -> None:
    """Remove the attributes that `clip_in_step` set."""
    for name in ('grad_scale', 'found_inf'):
        if hasattr(optimizer, name):
            delattr(optimizer, name)
