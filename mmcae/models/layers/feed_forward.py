# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Feed-forward network of the transformer blocks."""

from mmengine.model import BaseModule, Sequential
from torch import Tensor, nn

from ..ops import Linear, activated_linear


class FeedForward(BaseModule):
    """Two linear layers with GELU between them.

    The tensors have the names of mmcv's ``FFN``; unlike there, the residual
    and drop path are left to the block. One hidden tensor is kept for the
    backward pass instead of two; see `activated_linear`.

    Args:
        embed_dims: Width ``D``.
        hidden: Hidden width.
        drop_rate: Dropout after each linear layer.
    """

    add_identity = False

    def __init__(self, embed_dims: int, hidden: int, drop_rate: float) -> None:
        super().__init__()
        self.embed_dims = embed_dims
        self.feedforward_channels = hidden
        self.layers = Sequential(
            Sequential(
                Linear(embed_dims, hidden),
                nn.GELU(),
                nn.Dropout(drop_rate),
            ),
            Linear(hidden, embed_dims),
            nn.Dropout(drop_rate),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens ``(B, N, D)`` to the same shape."""
        (first, activation, inner_drop), second, drop = self.layers
        hidden = first(x)
        return drop(activated_linear(hidden, activation, inner_drop, second))
