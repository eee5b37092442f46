# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Self- and cross-attention of CAE."""

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from ..ops import Linear, attention, linear
from .relative_position import (
    interpolate_bias_table,
    num_bias_rows,
    relative_position_index,
)
from .window import apply_to_windows, crop_bias


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
        bias_grid: Rows and columns of patches that the relative position
            bias has a table for. Defaults to None, no such bias.
        window_size: Rows and columns of attention windows (see
            `apply_to_windows`); `bias_grid` is then None or the same.
            Defaults to None: every token attends to the whole grid.
        attn_drop_rate: Dropout of the attention weights.
        proj_drop_rate: Dropout after the output projection.
        qk_scale: Factor of the scores. Defaults to ``head_dim ** -0.5``.
        init_cfg: Initialization config of mmengine. Defaults to None.

    Raises:
        ValueError: If the heads do not divide the width.
    """

    relative_position_bias_table: nn.Parameter
    relative_position_index: Tensor

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        bias: bool | str = 'qv_bias',
        bias_grid: tuple[int, int] | None = None,
        window_size: tuple[int, int] | None = None,
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
        self.window_size = window_size
        self.bias_grid = bias_grid
        if bias_grid is not None:
            # Zeros as in the authors' fine-tuning; mmpretrain draws them.
            self.relative_position_bias_table = nn.Parameter(
                torch.zeros(num_bias_rows(bias_grid), num_heads)
            )
            self.register_buffer(
                'relative_position_index', relative_position_index(bias_grid)
            )
        self.proj = Linear(embed_dims, embed_dims)
        self.proj_drop = nn.Dropout(proj_drop_rate)

    def qkv_bias(self) -> Tensor | None:
        """Return the bias of the stacked projection, ``(3 D)`` or None."""
        if self.q_bias is None or self.v_bias is None:
            return self.qkv.bias
        key_bias = torch.zeros_like(self.q_bias, requires_grad=False)
        return torch.cat([self.q_bias, key_bias, self.v_bias])

    def relative_position_bias(
        self, grid: tuple[int, int] | None = None
    ) -> Tensor | None:
        """Look up the relative position bias.

        Args:
            grid: Patch grid of the input. The table is interpolated if that
                is not the table's own grid, which is the default.

        Returns:
            The bias, ``(num_heads, N, N)`` with ``N = 1 + h * w``; None for
            a layer without.
        """
        if self.bias_grid is None:
            return None
        table: Tensor = self.relative_position_bias_table
        index = self.relative_position_index
        if grid is not None and tuple(grid) != tuple(self.bias_grid):
            table = interpolate_bias_table(table, self.bias_grid, grid)
            index = relative_position_index(grid, table.device)
        size = len(index)
        return table[index.flatten()].view(size, size, -1).permute(2, 0, 1)

    def forward(
        self, x: Tensor, grid: tuple[int, int] | None = None
    ) -> Tensor:
        """Attend over a sequence.

        Args:
            x: Tokens, ``(B, N, D)``.
            grid: Patch grid of the input. Needed if the layer attends in
                windows, or has a relative position bias for another grid.

        Returns:
            Tokens, ``(B, N, D)``.

        Raises:
            ValueError: If a layer that attends in windows gets no grid.
        """
        qkv = linear(x, self.qkv.weight, self.qkv_bias())
        if self.window_size is None:
            x = self._attend(qkv, self.relative_position_bias(grid))
        else:
            x = self._attend_in_windows(qkv, self.window_size, grid)
        return self.proj_drop(x)

    def _attend_in_windows(
        self,
        qkv: Tensor,
        window_size: tuple[int, int],
        grid: tuple[int, int] | None,
    ) -> Tensor:
        """Attend inside windows of the grid; see `_attend`."""
        if grid is None:
            raise ValueError('attention in windows needs the patch grid')
        bias = self.relative_position_bias()

        def window_fn(windows: Tensor, size: tuple[int, int]) -> Tensor:
            if bias is None:
                return self._attend(windows, None)
            return self._attend(windows, crop_bias(bias, window_size, size))

        return apply_to_windows(window_fn, qkv, grid, window_size)

    def _attend(self, qkv: Tensor, bias: Tensor | None) -> Tensor:
        """Attend within sequences, and project the result.

        Windows are projected before they are put together: attention and
        projection then save one tensor for the backward pass, not two.

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

    Query, key and value each have a projection without bias; learned biases
    are added to query and value only.

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
        """Attend with queries to keys and values.

        Args:
            query: ``(B, M, D)``.
            key: ``(B, N, D)``.
            value: ``(B, N, D)``.

        Returns:
            One token for each query, ``(B, M, D)``.
        """
        q = linear(query, self.q.weight, self.q_bias)
        k = linear(key, self.k.weight)
        v = linear(value, self.v.weight, self.v_bias)
        q, k, v = (split_heads(t, self.num_heads) for t in (q, k, v))
        drop_rate = self.attn_drop_rate if self.training else 0.0
        x = attention(q, k, v, drop_rate=drop_rate, scale=self.qk_scale)
        return self.proj_drop(self.proj(merge_heads(x)))
