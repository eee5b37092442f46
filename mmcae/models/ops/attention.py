# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Scaled dot-product attention with the fastest kernel."""

import torch.nn.functional as F
from torch import Tensor

from .choice import explicit_attention


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor | None = None,
    drop_rate: float = 0.0,
    scale: float | None = None,
) -> Tensor:
    """Compute scaled dot-product attention.

    Args:
        query: ``(B, heads, M, d)``.
        key: ``(B, heads, N, d)``.
        value: ``(B, heads, N, d)``.
        bias: Added to the scores, broadcast to ``(B, heads, M, N)``.
        drop_rate: Dropout of the attention weights.
        scale: Factor of the scores. Defaults to ``d ** -0.5``.

    Returns:
        One vector for each query, ``(B, heads, M, d)``.
    """
    bias = None if bias is None else bias.to(query)
    if not explicit_attention(query, key):
        return F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=bias,
            dropout_p=drop_rate,
            scale=scale,
        )
    scores = query @ key.transpose(-2, -1)
    # In place, since no gradient needs the unscaled scores.
    scores = scores.mul_(query.shape[-1] ** -0.5 if scale is None else scale)
    if bias is not None:
        scores = scores.add_(bias)
    weights = scores.softmax(dim=-1)
    if drop_rate:
        weights = F.dropout(weights, drop_rate)
    return weights @ value
