# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Exact cross-entropy over many classes that needs little memory."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from .choice import is_traced, kernel_choice

# Rows that are cast to float32 at a time: 67 MB with 8192 classes.
_NUM_ROWS = 2048


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Compute the mean cross-entropy in float32.

    Logits in half precision are cast to float32 in slices of rows, here and
    in the backward pass. PyTorch's own loss holds two copies of all logits
    in float32, 1.6 GB for 256 images with 98 masked patches and 8192 classes.

    Args:
        logits: ``(N, K)``.
        targets: Class of each row, int64, ``(N,)``.

    Returns:
        The mean over the rows, a scalar in float32.
    """
    # Under torch.compile the plain loss is fused anyway.
    if kernel_choice('loss') == 'torch' or is_traced():
        return F.cross_entropy(logits.float(), targets)
    return _CrossEntropy.apply(logits, targets)


class _CrossEntropy(torch.autograd.Function):
    """Saves logits as they are, and two float32 numbers for each row."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, logits: Tensor, targets: Tensor
    ) -> Tensor:
        # The row maximum stays apart from the log-sum-exp: adding them
        # first would lose precision in float32.
        peaks = logits.amax(dim=1, keepdim=True).float()
        sums = [
            (rows - peak).exp_().sum(dim=1, keepdim=True)
            for rows, peak in zip(
                logits.split(_NUM_ROWS), peaks.split(_NUM_ROWS), strict=True
            )
        ]
        log_sums = torch.cat(sums).log_()
        ctx.save_for_backward(logits, targets, peaks, log_sums)
        wanted = logits.gather(1, targets[:, None]) - peaks
        return (log_sums - wanted).mean()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple:  # type: ignore[override]
        logits, targets, peaks, log_sums = ctx.saved_tensors
        of_logits = torch.empty_like(logits)
        factor = gradient / len(targets)
        for first in range(0, len(logits), _NUM_ROWS):
            rows = slice(first, first + _NUM_ROWS)
            # The gradient is softmax, minus one at the target.
            of_rows = (logits[rows] - peaks[rows]).sub_(log_sums[rows]).exp_()
            index = targets[rows, None]
            ones = torch.ones_like(index, dtype=of_rows.dtype)
            of_rows.scatter_add_(1, index, -ones)
            of_logits[rows] = of_rows.mul_(factor)
        return of_logits, None
