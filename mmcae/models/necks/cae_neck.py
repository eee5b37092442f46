# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The latent contextual regressor H and the decoder G (paper, section 3)."""

import warnings
from typing import Any

import torch
from mmengine.model import BaseModule, ModuleList
from torch import Tensor, nn

from mmcae.registry import MODELS

from ..layers import (
    NORM_CFG,
    EncoderBlock,
    Linear,
    PatchSplit,
    RegressorBlock,
    check_weight_init,
    drop_path_rates,
    init_module_,
    norm_layer,
    rescale_blocks_,
    select_tokens,
    sincos_position,
    split_patches,
    trunc_normal_,
)


@MODELS.register_module()
class CAENeck(BaseModule):
    """Regressor and decoder of CAE.

    The regressor predicts the latents of the masked patches from those of
    the visible ones; the decoder turns that prediction, and nothing else,
    into visual tokens. The number of masked patches is read from the mask.

    Args:
        num_classes: Number ``K`` of codes of the tokenizer.
        embed_dims: Width of regressor and decoder.
        regressor_depth: Number of regressor blocks. Defaults to 4.
        decoder_depth: Number of decoder blocks. Defaults to 4.
        num_heads: Number of heads in regressor and decoder.
        mlp_ratio: Hidden width of the feed-forward networks, as a multiple
            of ``embed_dims``.
        qkv_bias: Whether query and value have a learned bias.
        qk_scale: Factor of the attention scores. Defaults to
            ``head_dim ** -0.5``.
        drop_rate: Dropout after the projections.
        attn_drop_rate: Dropout of the attention weights.
        drop_path_rate: Stochastic depth of the last block of regressor and
            decoder; the rates of earlier blocks grow linearly from 0.
        norm_cfg: Normalization. Defaults to LayerNorm with eps 1e-6.
        layer_scale_init_value: Initial layer scale. Defaults to 0.1.
        mask_tokens_num: Deprecated and ignored. It is accepted because
            mmpretrain's configs give it.
        in_channels: Width of the encoder. Where it differs from
            ``embed_dims``, a linear layer and a LayerNorm project the
            encoder's latents. `CAE` fills it in. Defaults to ``embed_dims``.
        weight_init: ``'xavier'`` (small, base) or ``'beit'`` (large).
        with_cp: Whether blocks keep only their input and are computed again
            for the backward pass.
        init_cfg: Initialization config of mmengine. Defaults to None.
    """

    def __init__(
        self,
        num_classes: int = 8192,
        embed_dims: int = 768,
        regressor_depth: int = 4,
        decoder_depth: int = 4,
        num_heads: int = 12,
        mlp_ratio: float = 4,
        qkv_bias: bool = True,
        qk_scale: float | None = None,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        norm_cfg: dict = NORM_CFG,
        layer_scale_init_value: float | None = 0.1,
        mask_tokens_num: int | None = None,
        in_channels: int | None = None,
        weight_init: str = 'xavier',
        with_cp: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if mask_tokens_num is not None:
            warnings.warn(
                'CAENeck reads the number of masked patches from the mask; '
                f'mask_tokens_num={mask_tokens_num} is ignored, remove it',
                DeprecationWarning,
                stacklevel=2,
            )
        self.num_classes = num_classes
        self.embed_dims = embed_dims
        self.in_channels = in_channels or embed_dims
        self.weight_init = check_weight_init(weight_init)
        shared: dict[str, Any] = dict(
            embed_dims=embed_dims,
            num_heads=num_heads,
            feedforward_channels=int(mlp_ratio * embed_dims),
            layer_scale_init_value=layer_scale_init_value,
            drop_rate=drop_rate,
            attn_drop_rate=attn_drop_rate,
            qk_scale=qk_scale,
            norm_cfg=norm_cfg,
            with_cp=with_cp,
        )
        self.regressors = ModuleList(
            RegressorBlock(drop_path_rate=rate, qkv_bias=qkv_bias, **shared)
            for rate in drop_path_rates(drop_path_rate, regressor_depth)
        )
        self.decoders = ModuleList(
            EncoderBlock(
                drop_path_rate=rate,
                bias='qv_bias' if qkv_bias else False,
                **shared,
            )
            for rate in drop_path_rates(drop_path_rate, decoder_depth)
        )
        self.norm_regressor = norm_layer(norm_cfg, embed_dims)
        self.norm_decoder = norm_layer(norm_cfg, embed_dims)
        self.head = Linear(embed_dims, num_classes)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, embed_dims))
        self.projection: Linear | None = None
        self.projection_norm: nn.Module | None = None
        if self.in_channels != embed_dims:
            self.projection = Linear(self.in_channels, embed_dims)
            self.projection_norm = norm_layer(norm_cfg, embed_dims)
        self._positions: dict[tuple[int, int], Tensor] = {}

    def init_weights(self) -> None:
        """Draw the initial weights; ``init_cfg`` is applied afterwards."""
        init_module_(self, self.weight_init)
        if self.weight_init == 'beit':
            rescale_blocks_(self.regressors)
            rescale_blocks_(self.decoders)
            if self.projection is not None:
                # In the authors' large recipe it has PyTorch's own weights.
                self.projection.reset_parameters()
        trunc_normal_(self.mask_token)
        super().init_weights()

    def position(self, grid: tuple[int, int], like: Tensor) -> Tensor:
        """Return the positions of all patches, ``(1, L, D)``.

        Args:
            grid: Rows and columns of the patch grid.
            like: A tensor on the device wanted.
        """
        table = self._positions.get(grid)
        if table is None or table.device != like.device:
            table = sincos_position(grid, self.embed_dims, device=like.device)
            # Storing the table would make a compiler build a new graph.
            if not torch.compiler.is_compiling():
                self._positions = {grid: table}
        return table

    def project(self, latent: Tensor) -> Tensor:
        """Project encoder latents ``(B, N, C)`` to width ``D``."""
        if self.projection is None or self.projection_norm is None:
            return latent
        return self.projection_norm(self.projection(latent))

    def regress(
        self,
        visible: Tensor,
        mask: Tensor | PatchSplit,
        grid: tuple[int, int],
    ) -> Tensor:
        """Predict the latents of the masked patches, Z_m = H(Z_v, Q_m).

        Args:
            visible: Encoder output of the visible patches without class
                token, ``(B, V, C)``.
            mask: ``True`` where a patch is masked, ``(B, L)``, or what
                `split_patches` made of that.
            grid: Rows and columns of the patch grid, ``L`` in all.

        Returns:
            ``latent_pred``, normalized, ``(B, M, D)``.
        """
        visible = self.project(visible)
        split = split_patches(mask, grid[0] * grid[1])
        table = self.position(grid, visible)
        position_masked = select_tokens(table, split.masked)
        visible_with_pos = visible + select_tokens(table, split.visible)
        masked = self.mask_token.expand(*position_masked.shape[:2], -1)
        for block in self.regressors:
            masked = block(masked, visible, position_masked, visible_with_pos)
        return self.norm_regressor(masked)

    def decode(
        self,
        latent_pred: Tensor,
        mask: Tensor | PatchSplit,
        grid: tuple[int, int],
    ) -> Tensor:
        """Turn predicted latents into visual tokens, Y_m = G(Z_m).

        Args:
            latent_pred: Output of `regress`, ``(B, M, D)``.
            mask: See `regress`.
            grid: Rows and columns of the patch grid.

        Returns:
            ``logits`` over the codes, ``(B, M, K)``.
        """
        table = self.position(grid, latent_pred)
        split = split_patches(mask, grid[0] * grid[1])
        x = latent_pred + select_tokens(table, split.masked)
        for block in self.decoders:
            x = block(x)
        return self.head(self.norm_decoder(x))

    def forward(
        self,
        visible: Tensor,
        mask: Tensor | PatchSplit,
        grid: tuple[int, int],
    ) -> tuple[Tensor, Tensor]:
        """Predict latents and visual tokens of the masked patches.

        Args:
            visible: Encoder output of the visible patches without class
                token, ``(B, V, C)``.
            mask: ``True`` where a patch is masked, ``(B, L)``, or what
                `split_patches` made of that. Every row must mask the same
                number ``M`` of patches.
            grid: Rows and columns of the patch grid, ``L`` in all.

        Returns:
            ``logits``, ``(B, M, K)``, and ``latent_pred``, ``(B, M, D)``.

        Raises:
            ValueError: If rows of the mask mask different numbers.
        """
        split = split_patches(mask, grid[0] * grid[1])
        latent_pred = self.regress(visible, split, grid)
        return self.decode(latent_pred, split, grid), latent_pred
