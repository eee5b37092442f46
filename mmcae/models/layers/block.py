# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Transformer blocks of the encoder, the decoder and the regressor."""

import numpy as np
import torch
from mmcv.cnn import build_norm_layer
from mmcv.cnn.bricks import DropPath
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .attention import CrossAttention, SelfAttention
from .feed_forward import FeedForward

NORM_CFG = dict(type='LN', eps=1e-6)


def norm_layer(norm_cfg: dict, embed_dims: int) -> nn.Module:
    """Build a normalization layer, without the name that mmcv returns."""
    return build_norm_layer(norm_cfg, embed_dims)[1]


def drop_path_rates(last: float, depth: int) -> list[float]:
    """Stochastic-depth rates that grow linearly from 0 to ``last``."""
    return np.linspace(0, last, depth).tolist()


def scale_parameter(
    value: float | None, embed_dims: int
) -> nn.Parameter | None:
    """Make a layer-scale vector, or None when the value is 0 or None."""
    if not value:
        return None
    return nn.Parameter(torch.full((embed_dims,), float(value)))


def scaled(x: Tensor, gamma: Tensor | None) -> Tensor:
    """Multiply a branch by its layer scale, if it has one."""
    return x if gamma is None else x * gamma


class EncoderBlock(BaseModule):
    """Pre-norm transformer block of the encoder and the decoder.

    Drop path acts once on each branch (mmpretrain's BEiT block drops the
    feed-forward branch twice).

    Args:
        embed_dims: Width ``D``.
        num_heads: Number of heads.
        feedforward_channels: Hidden width of the feed-forward network.
        layer_scale_init_value: Initial layer scale; 0 or None for none.
        bias_grid: Patch grid of the relative position bias. Defaults to
            None, no such bias.
        window_size: Attention window, see `SelfAttention`.
        drop_rate: Dropout after the projections.
        attn_drop_rate: Dropout of the attention weights.
        drop_path_rate: Rate of stochastic depth, per sample.
        bias: See `SelfAttention`.
        qk_scale: See `SelfAttention`.
        norm_cfg: Normalization. Defaults to LayerNorm with eps 1e-6.
        with_cp: Whether only the input is saved for the backward pass, which
            then computes the block again: less memory, same gradients.
        init_cfg: Initialization config of mmengine. Defaults to None.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        feedforward_channels: int,
        layer_scale_init_value: float | None = 0.1,
        bias_grid: tuple[int, int] | None = None,
        window_size: tuple[int, int] | None = None,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        bias: bool | str = 'qv_bias',
        qk_scale: float | None = None,
        norm_cfg: dict = NORM_CFG,
        with_cp: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.with_cp = with_cp
        self.ln1 = norm_layer(norm_cfg, embed_dims)
        self.attn = SelfAttention(
            embed_dims,
            num_heads,
            bias=bias,
            bias_grid=bias_grid,
            window_size=window_size,
            attn_drop_rate=attn_drop_rate,
            proj_drop_rate=drop_rate,
            qk_scale=qk_scale,
        )
        self.ln2 = norm_layer(norm_cfg, embed_dims)
        self.ffn = FeedForward(embed_dims, feedforward_channels, drop_rate)
        self.drop_path = DropPath(drop_path_rate)
        # mmcv's FFN holds it under this name. The block itself applies it,
        # after the layer scale, which is float32 also under autocast.
        self.ffn.dropout_layer = self.drop_path
        self.gamma_1 = scale_parameter(layer_scale_init_value, embed_dims)
        self.gamma_2 = scale_parameter(layer_scale_init_value, embed_dims)

    def forward(
        self, x: Tensor, grid: tuple[int, int] | None = None
    ) -> Tensor:
        """Transform tokens ``(B, N, D)``; see `SelfAttention.forward`."""
        if self.with_cp and torch.is_grad_enabled():
            # `checkpoint` restores the random state for the second pass, so
            # drop path drops the same samples.
            return checkpoint(self._transform, x, grid, use_reentrant=False)
        return self._transform(x, grid)

    def _transform(self, x: Tensor, grid: tuple[int, int] | None) -> Tensor:
        attended = self.attn(self.ln1(x), grid)
        x = x + self.drop_path(scaled(attended, self.gamma_1))
        return x + self.drop_path(scaled(self.ffn(self.ln2(x)), self.gamma_2))


class RegressorBlock(BaseModule):
    """Block of the latent contextual regressor H (paper, section 3).

    The masked patches attend to the visible patches and to themselves.
    Positions are added to queries and keys only, each input has its own
    LayerNorm, and the second skip connection starts from the *normalized*
    tokens, as in the authors' code.

    Args:
        embed_dims: Width ``D``.
        num_heads: Number of heads.
        feedforward_channels: Hidden width of the feed-forward network.
        layer_scale_init_value: Initial layer scale. With 0 or None the scale
            is one and frozen.
        drop_rate: Dropout after the projections.
        attn_drop_rate: Dropout of the attention weights.
        drop_path_rate: Rate of stochastic depth, per sample.
        qkv_bias: Whether query and value have a learned bias.
        qk_scale: Factor of the scores. Defaults to ``head_dim ** -0.5``.
        norm_cfg: Normalization. Defaults to LayerNorm with eps 1e-6.
        with_cp: See `EncoderBlock`.
        init_cfg: Initialization config of mmengine. Defaults to None.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        feedforward_channels: int,
        layer_scale_init_value: float | None = 0.1,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        qkv_bias: bool = True,
        qk_scale: float | None = None,
        norm_cfg: dict = NORM_CFG,
        with_cp: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.with_cp = with_cp
        self.norm1_q_cross = norm_layer(norm_cfg, embed_dims)
        self.norm1_k_cross = norm_layer(norm_cfg, embed_dims)
        self.norm1_v_cross = norm_layer(norm_cfg, embed_dims)
        self.norm2_cross = norm_layer(norm_cfg, embed_dims)
        self.cross_attn = CrossAttention(
            embed_dims,
            num_heads,
            qkv_bias=qkv_bias,
            attn_drop_rate=attn_drop_rate,
            proj_drop_rate=drop_rate,
            qk_scale=qk_scale,
        )
        self.ffn = FeedForward(embed_dims, feedforward_channels, drop_rate)
        self.drop_path = DropPath(drop_path_rate)
        value = float(layer_scale_init_value or 1.0)
        self.gamma_1_cross, self.gamma_2_cross = (
            nn.Parameter(
                torch.full((embed_dims,), value),
                requires_grad=bool(layer_scale_init_value),
            )
            for _ in range(2)
        )

    def forward(
        self,
        masked: Tensor,
        visible: Tensor,
        position_masked: Tensor,
        visible_with_pos: Tensor,
    ) -> Tensor:
        """Refine the latents of the masked patches.

        Args:
            masked: Current latents of masked patches, ``(B, M, D)``.
            visible: Latents of visible patches, ``(B, V, D)``.
            position_masked: Positions of the masked patches, ``(B, M, D)``.
            visible_with_pos: ``visible`` plus the positions of the visible
                patches, ``(B, V, D)``. It is the same in every block.

        Returns:
            New latents of the masked patches, ``(B, M, D)``.
        """
        inputs = masked, visible, position_masked, visible_with_pos
        if self.with_cp and torch.is_grad_enabled():
            return checkpoint(self._transform, *inputs, use_reentrant=False)
        return self._transform(*inputs)

    def _transform(
        self,
        masked: Tensor,
        visible: Tensor,
        position_masked: Tensor,
        visible_with_pos: Tensor,
    ) -> Tensor:
        query = masked + position_masked
        key = torch.cat([visible_with_pos, query], dim=1)
        attended = self.cross_attn(
            self.norm1_q_cross(query),
            self.norm1_k_cross(key),
            self.norm1_v_cross(torch.cat([visible, masked], dim=1)),
        )
        masked = masked + self.drop_path(attended * self.gamma_1_cross)
        masked = self.norm2_cross(masked)
        return masked + self.drop_path(self.ffn(masked) * self.gamma_2_cross)
