# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Linear layers that choose their kernel, and keep less for backward."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from .choice import (
    casts_at_use,
    chosen,
    matmul_onednn,
    onednn_linear,
    watched,
)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Compute ``x weight^T + bias`` with the kernel that `kernels` chooses.

    Args:
        x: ``(..., in)``.
        weight: ``(out, in)``.
        bias: ``(out)``, or None.

    Returns:
        ``(..., out)``.
    """
    onednn = onednn_linear(x, weight)
    if onednn or casts_at_use(x, weight):
        return _Linear.apply(x, weight, bias, _dtype(x), False, onednn)
    return F.linear(x, weight, bias)


class Linear(nn.Linear):
    """`torch.nn.Linear` on `linear`."""

    def forward(self, input: Tensor) -> Tensor:
        """Map ``(..., in)`` to ``(..., out)``."""
        return linear(input, self.weight, self.bias)


def activated_linear(
    x: Tensor, activation: nn.Module, drop: nn.Dropout, layer: nn.Module
) -> Tensor:
    """Apply activation, dropout, and a linear layer.

    Exact GELU without dropout keeps one tensor for the backward pass instead
    of two; see `gelu_linear`.

    Args:
        x: Input of the activation, ``(..., in)``.
        activation: The activation.
        drop: Dropout after it.
        layer: The linear layer, or what stands in its place.

    Returns:
        ``(..., out)``.
    """
    exact = type(activation) is nn.GELU and activation.approximate == 'none'
    drops = drop.training and drop.p > 0
    if type(layer) is Linear and exact and not drops:
        return gelu_linear(x, layer)
    return layer(drop(activation(x)))


def gelu_linear(x: Tensor, layer: nn.Linear) -> Tensor:
    """Apply exact GELU, then a linear layer, keeping only ``x``.

    PyTorch would keep GELU's input and its output, which is a quarter of
    what a transformer block keeps. Here the backward pass computes the
    output again: the same numbers, for 0.3 % of the time of a step.

    Args:
        x: Input of GELU, ``(..., in)``.
        layer: The linear layer that follows.

    Returns:
        ``(..., out)``.
    """
    keep = chosen('activation') == 'keep' or watched()
    if keep or not torch.is_grad_enabled():
        return layer(F.gelu(x))
    weight, bias = layer.weight, layer.bias
    onednn = onednn_linear(x, weight)
    return _Linear.apply(x, weight, bias, _dtype(x), True, onednn)


def _dtype(x: Tensor) -> torch.dtype:
    """What autocast would compute in; it leaves functions of ours alone."""
    device = x.device.type
    # Devices such as meta have no autocast; to ask them is an error.
    available = torch.amp.is_autocast_available(device)
    if available and torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return x.dtype


def _product(x: Tensor, weight: Tensor, onednn: bool) -> Tensor:
    return matmul_onednn(x, weight) if onednn else x @ weight.t()


def _linear(
    x: Tensor, weight: Tensor, bias: Tensor | None, onednn: bool
) -> Tensor:
    if not onednn:
        return F.linear(x, weight, bias)
    rows = matmul_onednn(x.reshape(-1, x.shape[-1]), weight, bias)
    return rows.view(*x.shape[:-1], -1)


def _gradients(
    needed: tuple[bool, ...],
    gradient: Tensor,
    x: Tensor,
    weight: Tensor,
    onednn: bool,
) -> tuple[Tensor | None, ...]:
    """Gradients of input, weight and bias, as far as they are needed."""
    gradient = gradient.reshape(-1, gradient.shape[-1])
    rows = x.reshape(-1, x.shape[-1])
    of_x = of_weight = of_bias = None
    if needed[0]:
        of_x = _product(gradient, weight.t(), onednn).view_as(x)
    if needed[1]:
        of_weight = _product(gradient.t(), rows.t(), onednn)
    if needed[2]:
        of_bias = gradient.sum(0)
    return of_x, of_weight, of_bias


class _Linear(torch.autograd.Function):
    """Optional GELU followed by a linear layer.

    Saves the input and the uncast weight for the backward pass; the
    low-precision copy of the weight is made again in each pass.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        dtype: torch.dtype,
        gelu: bool,
        onednn: bool,
    ) -> Tensor:
        ctx.gelu, ctx.onednn = gelu, onednn
        x = x.to(dtype)
        ctx.save_for_backward(x, weight)
        bias = bias if bias is None else bias.to(dtype)
        entering = F.gelu(x) if gelu else x
        return _linear(entering, weight.to(dtype), bias, onednn)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple:  # type: ignore[override]
        x, weight = ctx.saved_tensors
        entering = F.gelu(x) if ctx.gelu else x
        weight = weight.to(x.dtype)
        of_x, of_weight, of_bias = _gradients(
            ctx.needs_input_grad, gradient, entering, weight, ctx.onednn
        )
        if of_x is not None and ctx.gelu:
            of_x = torch.ops.aten.gelu_backward(of_x, x)
        # Autograd casts them to the types of what they belong to.
        return of_x, of_weight, of_bias, None, None, None
