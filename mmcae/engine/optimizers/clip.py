# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Gradient clipping that leaves the scaling to a fused optimizer."""

from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


def clip_in_step(
    optimizer: Optimizer, max_norm: float, norm_type: float = 2.0
) -> Tensor | None:
    """Have the optimizer's next step clip its gradients.

    A fused optimizer divides gradients by ``grad_scale`` as it reads them,
    and changes nothing where ``found_inf`` is set (PyTorch's protocol of
    loss scalers). So clipping needs no pass over the gradients but the
    norm, and a gradient that is not finite destroys no weight.

    Args:
        optimizer: The optimizer; its next step takes the two tensors, and
            `unclip` removes them.
        max_norm: Largest norm of all gradients together.
        norm_type: Which norm.

    Returns:
        The norm before clipping; None, and nothing done, if the optimizer
        or a gradient is not of the kind.
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
    # A scale is a pass of writing gradients. (On GPUs, to ask would wait.)
    if not (scale.is_cpu and scale == 1):
        state.grad_scale = scale
    state.found_inf = (~norm.isfinite()).float()
    return norm


def is_fused(optimizer: Optimizer) -> bool:
    """Whether every parameter group has the fused kernel."""
    return all(group.get('fused') for group in optimizer.param_groups)


def unclip(optimizer: Optimizer) -> None:
    """Forget what `clip_in_step` left."""
    for name in ('grad_scale', 'found_inf'):
        if hasattr(optimizer, name):
            delattr(optimizer, name)
