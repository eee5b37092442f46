# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Self- and cross-attention of CAE."""

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from ..ops import Linear, attention, linear
from .relative_position import add_relative_position, relative_position_bias
from .window import attend_in_windows, crop_bias


def split_heads(x: Tensor, num_heads: int) -> Tensor:
    """Reshape ``(B, N, D)`` to ``(B, num_heads, N, D / num_heads)``."""
    return x.unflatten(-1, (num_heads, -1)).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """Reshape ``(B, num_heads, N, d)`` to ``(B, N, num_heads * d)``."""
    return x.transpose(1, 2).flatten(2)


def check_heads(embed_dims: int, num_heads: int) -> None:
    """Raise ``ValueError`` unless the heads divide the width."""
    if embed_dims % num_heads:
        raise ValueError(
            f'embed_dims={embed_dims} is not divisible by '
            f'num_heads={num_heads}'
        )


class SelfAttention(BaseModule):
    """Multi-head self-attention with BEiT's query and value biases.

    Args:
        embed_dims: Width ``D``.
        num_heads: Number of heads, a divisor of ``D``.
        bias: ``'qv_bias'`` for learned query and value biases (the key has
            none), ``True`` for an ordinary bias, ``False`` for none.
        window_size: Patch grid of the relative position bias. None leaves
            that bias out.
        attn_window: Rows and columns of windows that attend by themselves
            (see `attend_in_windows`); `window_size` is None or the same.
            Defaults to None, the whole grid.
        attn_drop_rate: Dropout of the attention weights.
        proj_drop_rate: Dropout after the output projection.
        qk_scale: Factor of the scores. Defaults to ``head_dim ** -0.5``.
        init_cfg: Initialization config of mmengine. Defaults to None.

    Raises:
        ValueError: If the heads do not divide the width.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        bias: bool | str = 'qv_bias',
        window_size: tuple[int, int] | None = None,
        attn_window: tuple[int, int] | None = None,
        attn_drop_rate: float = 0.0,
        proj_drop_rate: float = 0.0,
        qk_scale: float | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        check_heads(embed_dims, num_heads)
        self.embed_dims = embed_dims
        self.num_heads = num_heads
        self.attn_drop_rate = attn_drop_rate
        self.qk_scale = qk_scale
        self.qkv = Linear(embed_dims, 3 * embed_dims, bias=bias is True)
        self.q_bias: nn.Parameter | None = None
        self.v_bias: nn.Parameter | None = None
        if bias == 'qv_bias':
            self.q_bias = nn.Parameter(torch.zeros(embed_dims))
            self.v_bias = nn.Parameter(torch.zeros(embed_dims))
        self.attn_window = attn_window
        self.has_window = window_size is not None
        if window_size is not None:
            add_relative_position(self, window_size, num_heads)
        self.proj = Linear(embed_dims, embed_dims)
        self.proj_drop = nn.Dropout(proj_drop_rate)

    def qkv_bias(self) -> Tensor | None:
        """Return the bias of the stacked projection, ``(3 D)`` or None."""
        if self.q_bias is None or self.v_bias is None:
            return self.qkv.bias
        key_bias = torch.zeros_like(self.q_bias, requires_grad=False)
        return torch.cat([self.q_bias, key_bias, self.v_bias])

    def forward(
        self,
        x: Tensor,
        rel_pos_bias: Tensor | None = None,
        grid: tuple[int, int] | None = None,
    ) -> Tensor:
        """Attend over a sequence.

        Args:
            x: Tokens, ``(B, N, D)``.
            rel_pos_bias: A bias shared by all layers, ``(heads, N, N)``.
            grid: Patch grid of the input, where it differs from the window
                of the layer's own bias, or the layer attends in windows.

        Returns:
            Tokens, ``(B, N, D)``.

        Raises:
            ValueError: If a layer that attends in windows gets no grid.
        """
        qkv = linear(x, self.qkv.weight, self.qkv_bias())
        if self.attn_window is None:
            if self.has_window:
                own_bias = relative_position_bias(self, grid)
                rel_pos_bias = (
                    own_bias
                    if rel_pos_bias is None
                    else own_bias + rel_pos_bias
                )
            x = self.attend(qkv, rel_pos_bias)
        else:
            x = self.attend_in_windows(qkv, self.attn_window, grid)
        return self.proj_drop(x)

    def attend_in_windows(
        self,
        qkv: Tensor,
        window: tuple[int, int],
        grid: tuple[int, int] | None,
    ) -> Tensor:
        """Attend inside windows of the grid; see `attend`."""
        if grid is None:
            raise ValueError('attention in windows needs the patch grid')
        bias = relative_position_bias(self) if self.has_window else None

        def attend(windows: Tensor, size: tuple[int, int]) -> Tensor:
            cropped = None if bias is None else crop_bias(bias, window, size)
            return self.attend(windows, cropped)

        return attend_in_windows(qkv, grid, window, attend)

    def attend(self, qkv: Tensor, bias: Tensor | None) -> Tensor:
        """Attend within sequences and project what was read.

        Windows are projected before they are put together: attention and
        projection then keep one tensor for the backward pass, not two.

        Args:
            qkv: Queries, keys and values, ``(B, N, 3 D)``.
            bias: Added to the scores, ``(heads, N, N)``.

        Returns:
            Tokens, ``(B, N, D)``.
        """
        q, k, v = (split_heads(t, self.num_heads) for t in qkv.chunk(3, -1))
        drop_rate = self.attn_drop_rate if self.training else 0.0
        x = attention(q, k, v, bias, drop_rate, self.qk_scale)
        return self.proj(merge_heads(x))


class CrossAttention(BaseModule):
    """Multi-head cross-attention of the regressor (paper, figure 2).

    Query, key and value have projections of their own without bias; learned
    vectors are added to query and value.

    Args:
        embed_dims: Width ``D``.
        num_heads: Number of heads, a divisor of ``D``.
        qkv_bias: Whether query and value have a learned bias.
        attn_drop_rate: Dropout of the attention weights.
        proj_drop_rate: Dropout after the output projection.
        qk_scale: Factor of the scores. Defaults to ``head_dim ** -0.5``.
        init_cfg: Initialization config of mmengine. Defaults to None.

    Raises:
        ValueError: If the heads do not divide the width.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        qkv_bias: bool = True,
        attn_drop_rate: float = 0.0,
        proj_drop_rate: float = 0.0,
        qk_scale: float | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        check_heads(embed_dims, num_heads)
        self.num_heads = num_heads
        self.attn_drop_rate = attn_drop_rate
        self.qk_scale = qk_scale
        self.q = Linear(embed_dims, embed_dims, bias=False)
        self.k = Linear(embed_dims, embed_dims, bias=False)
        self.v = Linear(embed_dims, embed_dims, bias=False)
        self.q_bias: nn.Parameter | None = None
        self.v_bias: nn.Parameter | None = None
        if qkv_bias:
            self.q_bias = nn.Parameter(torch.zeros(embed_dims))
            self.v_bias = nn.Parameter(torch.zeros(embed_dims))
        self.proj = Linear(embed_dims, embed_dims)
        self.proj_drop = nn.Dropout(proj_drop_rate)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Let queries read from keys and values.

        Args:
            query: ``(B, M, D)``.
            key: ``(B, N, D)``.
            value: ``(B, N, D)``.

        Returns:
            What the queries read, ``(B, M, D)``.
        """
        q = linear(query, self.q.weight, self.q_bias)
        k = linear(key, self.k.weight)
        v = linear(value, self.v.weight, self.v_bias)
        q, k, v = (split_heads(t, self.num_heads) for t in (q, k, v))
        drop_rate = self.attn_drop_rate if self.training else 0.0
        x = attention(q, k, v, drop_rate=drop_rate, scale=self.qk_scale)
        return self.proj_drop(self.proj(merge_heads(x)))
