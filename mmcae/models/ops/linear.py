# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Linear layers that choose their kernel and save less for backward."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from .choice import (
    is_traced,
    kernel_choice,
    matmul_onednn,
    onednn_linear,
    recasts_weight,
)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Compute ``x weight^T + bias`` with the kernel that `choice` chooses.

    Args:
        x: ``(..., in)``.
        weight: ``(out, in)``.
        bias: ``(out)``, or None.

    Returns:
        ``(..., out)``.
    """
    onednn = onednn_linear(x, weight)
    if onednn or recasts_weight(x, weight):
        return _LinearFunction.apply(x, weight, bias, _dtype(x), False, onednn)
    return F.linear(x, weight, bias)


class Linear(nn.Linear):
    """`torch.nn.Linear` that calls `linear`."""

    def forward(self, input: Tensor) -> Tensor:
        """Map ``(..., in)`` to ``(..., out)``."""
        return linear(input, self.weight, self.bias)


def activated_linear(
    x: Tensor, activation: nn.Module, drop: nn.Dropout, layer: nn.Module
) -> Tensor:
    """Apply activation, dropout, and a linear layer.

    Exact GELU without dropout saves one tensor for the backward pass instead
    of two; see `gelu_linear`. Anything else is applied as it is.

    Args:
        x: Input of the activation, ``(..., in)``.
        activation: The activation.
        drop: Dropout after the activation.
        layer: The linear layer, or a module that replaced it.

    Returns:
        ``(..., out)``.
    """
    exact = type(activation) is nn.GELU and activation.approximate == 'none'
    drops = drop.training and drop.p > 0
    if type(layer) is Linear and exact and not drops:
        return gelu_linear(x, layer)
    return layer(drop(activation(x)))


def gelu_linear(x: Tensor, layer: nn.Linear) -> Tensor:
    """Apply exact GELU, then a linear layer; save only ``x`` for backward.

    PyTorch would save both input and output of GELU; the output is a quarter
    of what a transformer block saves. Here the backward pass computes the
    output again: the numbers are the same, and it takes 0.3 % of a step.

    Args:
        x: Input of GELU, ``(..., in)``.
        layer: The linear layer that follows.

    Returns:
        ``(..., out)``.
    """
    keep = kernel_choice('activation') == 'keep' or is_traced()
    if keep or not torch.is_grad_enabled():
        return layer(F.gelu(x))
    weight, bias = layer.weight, layer.bias
    onednn = onednn_linear(x, weight)
    return _LinearFunction.apply(x, weight, bias, _dtype(x), True, onednn)


def _dtype(x: Tensor) -> torch.dtype:
    """The type that autocast would choose: it skips autograd functions."""
    device = x.device.type
    # Asking is an error for devices without autocast, such as meta.
    available = torch.amp.is_autocast_available(device)
    if available and torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return x.dtype


def _product(x: Tensor, weight: Tensor, onednn: bool) -> Tensor:
    return matmul_onednn(x, weight) if onednn else x @ weight.t()


def _matmul_bias(
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
    """Compute the gradients of input, weight and bias that are needed."""
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


class _LinearFunction(torch.autograd.Function):
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
        return _matmul_bias(entering, weight.to(dtype), bias, onednn)

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
        # Autograd casts each gradient to the type of its tensor.
        return of_x, of_weight, of_bias, None, None, None
