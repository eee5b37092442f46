# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""A convolution with ReLU, computed by the fastest kernel."""

import torch.nn.functional as F
from torch import Tensor

from .choice import conv_onednn, onednn_conv


def conv2d_relu(x: Tensor, weight: Tensor, bias: Tensor, relu: bool) -> Tensor:
    """Convolve with padding that keeps the size, then apply ReLU if asked.

    Args:
        x: ``(B, in, H, W)``.
        weight: ``(out, in, k, k)`` with an odd ``k``, of the type of ``x``.
        bias: ``(out)``.
        relu: Whether ReLU is applied to the result.

    Returns:
        ``(B, out, H, W)``.
    """
    if onednn_conv(x):
        return conv_onednn(x, weight, bias, relu)
    x = F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)
    return F.relu(x, inplace=True) if relu else x
