# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Linear layers that choose their kernel, and keep less for backward."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from .kernels import chosen, matmul_onednn, onednn_linear, watched


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Compute ``x weight^T + bias`` with the kernel that `kernels` chooses.

    Args:
        x: ``(..., in)``.
        weight: ``(out, in)``.
        bias: ``(out)``, or None.

    Returns:
        ``(..., out)``.
    """
    if onednn_linear(x, weight):
        return _OneDNNLinear.apply(x, weight, bias)
    return F.linear(x, weight, bias)


class Linear(nn.Linear):
    """`torch.nn.Linear` on `linear`."""

    def forward(self, input: Tensor) -> Tensor:
        """Map ``(..., in)`` to ``(..., out)``."""
        return linear(input, self.weight, self.bias)


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
    weight: Tensor = layer.weight
    bias: Tensor | None = layer.bias
    device = x.device.type
    if torch.is_autocast_enabled(device):
        # What autocast would do; a function of ours it leaves alone.
        dtype = torch.get_autocast_dtype(device)
        x, weight = x.to(dtype), weight.to(dtype)
        bias = bias if bias is None else bias.to(dtype)
    with torch.autocast(device, enabled=False):
        return _GELULinear.apply(x, weight, bias, onednn_linear(x, weight))


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


class _OneDNNLinear(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _linear(x, weight, bias, onednn=True)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple:  # type: ignore[override]
        x, weight = ctx.saved_tensors
        return _gradients(ctx.needs_input_grad, gradient, x, weight, True)


class _GELULinear(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        onednn: bool,
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.onednn = onednn
        return _linear(F.gelu(x), weight, bias, onednn)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple:  # type: ignore[override]
        x, weight = ctx.saved_tensors
        of_output, of_weight, of_bias = _gradients(
            ctx.needs_input_grad, gradient, F.gelu(x), weight, ctx.onednn
        )
        of_x = None
        if of_output is not None:
            of_x = torch.ops.aten.gelu_backward(of_output, x)
        return of_x, of_weight, of_bias, None
