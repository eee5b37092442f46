# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The encoder F of CAE as a vision transformer for whole images.

Paper: Context Autoencoder, arXiv 2202.03026, section 3.
"""

from collections.abc import Sequence
from typing import Any

import torch
from mmcv.cnn.bricks.transformer import PatchEmbed
from mmengine.utils import to_2tuple
from mmpretrain.models.backbones.base_backbone import BaseBackbone
from mmpretrain.models.utils import resize_pos_embed
from torch import Tensor, nn

from mmcae.checkpoint.load_with_report import ReportedLoad
from mmcae.registry import MODELS

from ..layers import (
    NORM_CFG,
    RelativePositionBias,
    check_family,
    init_module_,
    norm_layer,
    rescale_blocks_,
    sincos_position,
    trunc_normal_,
)
from . import adapt
from .arch import ARCH_ZOO, arch_settings, block_indices, layer_depth
from .blocks import build_blocks

OUT_TYPES = ('raw', 'cls_token', 'featmap', 'avg_featmap')
FINAL_NORMS = (False, True, 'every')


@MODELS.register_module()
class CAEViT(ReportedLoad, BaseBackbone):
    """Vision transformer that CAE pretrains, on whole images.

    It takes the arguments of mmpretrain's ``BEiTViT`` and has its tensor
    names, drops a branch once where that drops twice, and has positions by
    default: a frozen sine-cosine table, as the authors'.

    Args:
        arch: ``'small'``, ``'base'``, ``'large'`` or their initials, any
            other name that ``BEiTViT`` knows (such as ``'deit-tiny'``), or a
            dict with the keys ``embed_dims``, ``num_layers``, ``num_heads``
            and ``feedforward_channels``. ``'small'`` is the authors' (384
            wide, 12 blocks), not mmpretrain's (768 wide, 8 blocks).
        img_size: Height and width of the usual input; positions of other
            inputs are interpolated from its grid. For inputs of many sizes
            leave that of pretraining: positions are then resized only once.
        patch_size: Side or sides of a patch.
        in_channels: Channels of the image.
        out_indices: Blocks whose output is returned; negative ones count
            from the end.
        drop_rate: Dropout after the position table and the projections.
        drop_path_rate: Stochastic depth of the last block; earlier blocks
            grow linearly from 0.
        bias: ``'qv_bias'``, ``True`` or ``False``; see `SelfAttention`.
        norm_cfg: Normalisation. Defaults to LayerNorm with eps 1e-6.
        final_norm: Whether the last block's output is normalised (tensor
            ``ln1``); ``'every'`` normalises each returned output with it.
        out_type: ``'raw'`` (B, 1 + L, D), ``'cls_token'`` (B, D),
            ``'featmap'`` (B, D, h, w) or ``'avg_featmap'``: the normalised
            mean of the patch tokens, (B, D) (tensor ``ln2``).
        with_cls_token: Whether a class token is put in front.
        frozen_stages: Blocks to freeze, with all before them; -1 or 0: none.
        use_abs_pos_emb: Whether the sine-cosine positions are added.
        use_rel_pos_bias: A relative position bias in each block.
        use_shared_rel_pos_bias: One relative position bias for all blocks.
        interpolate_mode: How positions are resized.
        layer_scale_init_value: Initial layer scale; 0 or None for none.
        weight_init: ``'xavier'`` (small, base) or ``'beit'`` (large).
        patch_cfg: Further arguments of mmcv's ``PatchEmbed``.
        layer_cfgs: Further arguments of the blocks, for all or for each.
        window_size: Side or sides, in patches, of windows that blocks attend
            in, for large images. None: every block attends everywhere.
        global_indices: With windows, the blocks that attend everywhere.
            Defaults to four, evenly spread.
        with_cp: Whether blocks keep their input only and are computed again
            for the backward pass.
        init_cfg: Initialization config of mmengine. Defaults to None.

    Raises:
        ValueError: If an argument has no meaning; the message names it.
    """

    arch_zoo = ARCH_ZOO

    def __init__(
        self,
        arch: str | dict = 'base',
        img_size: int | tuple[int, int] = 224,
        patch_size: int | tuple[int, int] = 16,
        in_channels: int = 3,
        out_indices: int | Sequence[int] = -1,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        bias: bool | str = 'qv_bias',
        norm_cfg: dict = NORM_CFG,
        final_norm: bool | str = False,
        out_type: str = 'avg_featmap',
        with_cls_token: bool = True,
        frozen_stages: int = -1,
        use_abs_pos_emb: bool = True,
        use_rel_pos_bias: bool = True,
        use_shared_rel_pos_bias: bool = False,
        interpolate_mode: str = 'bicubic',
        layer_scale_init_value: float | None = 0.1,
        weight_init: str = 'xavier',
        patch_cfg: dict = dict(),
        layer_cfgs: dict | Sequence[dict] = dict(),
        window_size: int | tuple[int, int] | None = None,
        global_indices: Sequence[int] | None = None,
        with_cp: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.arch_settings = arch_settings(arch)
        self.embed_dims = self.arch_settings['embed_dims']
        self.num_layers = self.arch_settings['num_layers']
        if window_size is not None:
            window_size = tuple(to_2tuple(window_size))
        _check_arguments(
            out_type,
            final_norm,
            with_cls_token,
            use_rel_pos_bias,
            use_shared_rel_pos_bias,
            window_size,
        )
        self.out_type = out_type
        self.out_indices = block_indices(out_indices, self.num_layers)
        self.img_size = to_2tuple(img_size)
        self.interpolate_mode = interpolate_mode
        self.with_cls_token = with_cls_token
        self.num_extra_tokens = int(with_cls_token)
        self.use_rel_pos_bias = use_rel_pos_bias
        self.weight_init = check_family(weight_init)
        self.frozen_stages = frozen_stages
        self.final_norm = final_norm

        embed_cfg: dict[str, Any] = dict(
            in_channels=in_channels,
            input_size=self.img_size,
            embed_dims=self.embed_dims,
            kernel_size=patch_size,
            stride=patch_size,
        )
        self.patch_embed = PatchEmbed(**{**embed_cfg, **patch_cfg})
        self.patch_resolution: tuple[int, int] = self.patch_embed.init_out_size
        self.cls_token: nn.Parameter | None = None
        if with_cls_token:
            self.cls_token = nn.Parameter(torch.zeros(1, 1, self.embed_dims))
        self.pos_embed: nn.Parameter | None = None
        if use_abs_pos_emb:
            # A parameter, not a buffer: it is one in every checkpoint.
            table = sincos_position(
                self.patch_resolution, self.embed_dims, self.num_extra_tokens
            )
            self.pos_embed = nn.Parameter(table, requires_grad=False)
        self.drop_after_pos = nn.Dropout(drop_rate)
        self.rel_pos_bias = (
            RelativePositionBias(
                self.patch_resolution, self.arch_settings['num_heads']
            )
            if use_shared_rel_pos_bias
            else None
        )
        self.layers = build_blocks(
            self.arch_settings,
            grid=self.patch_resolution if use_rel_pos_bias else None,
            window_size=window_size,
            global_indices=global_indices,
            drop_path_rate=drop_path_rate,
            layer_cfgs=layer_cfgs,
            layer_scale_init_value=layer_scale_init_value,
            drop_rate=drop_rate,
            bias=bias,
            norm_cfg=norm_cfg,
            with_cp=with_cp,
        )
        if final_norm:
            self.ln1 = norm_layer(norm_cfg, self.embed_dims)
        if out_type == 'avg_featmap':
            self.ln2 = norm_layer(norm_cfg, self.embed_dims)
        self._register_load_state_dict_pre_hook(self._adapt_state_dict)
        for module in self._frozen_modules():
            module.requires_grad_(False)
        if frozen_stages > 0 and self.cls_token is not None:
            self.cls_token.requires_grad_(False)

    def init_weights(self) -> None:
        """Draw the initial weights; ``init_cfg`` is applied afterwards."""
        init_module_(self, self.weight_init)
        if self.weight_init == 'beit':
            rescale_blocks_(self.layers)
        if self.cls_token is not None:
            trunc_normal_(self.cls_token)
        super().init_weights()

    def _adapt_state_dict(
        self, state_dict: dict, prefix: str, *_: Any
    ) -> None:
        if self.pos_embed is not None:
            adapt.fit_position_table(
                state_dict,
                f'{prefix}pos_embed',
                self.patch_resolution,
                self.num_extra_tokens,
                self.interpolate_mode,
            )
        adapt.move_final_norm(
            state_dict,
            prefix,
            has_final=bool(self.final_norm),
            has_pooled=hasattr(self, 'ln2'),
        )
        if self.use_rel_pos_bias:
            adapt.copy_shared_bias(state_dict, prefix, self.num_layers)
        grids, indices = {}, {}
        for name, module in self.named_modules(prefix=prefix.rstrip('.')):
            if hasattr(module, 'relative_position_bias_table'):
                start = f'{name}.relative_position_'
                grids[f'{start}bias_table'] = module.window_size
                indices[f'{start}index'] = module.relative_position_index
        adapt.fit_bias_tables(state_dict, grids)
        adapt.renew_bias_indices(state_dict, indices)

    def train(self, mode: bool = True) -> 'CAEViT':
        """Set the training mode; frozen parts stay in evaluation mode."""
        super().train(mode)
        for module in self._frozen_modules():
            module.eval()
        return self

    def _frozen_modules(self) -> list[nn.Module]:
        """The embedding, the first blocks, and the norms after the last."""
        if self.frozen_stages <= 0:
            return []
        frozen = [self.patch_embed, self.drop_after_pos]
        frozen += list(self.layers[: self.frozen_stages])
        if self.frozen_stages >= self.num_layers:
            norms = [getattr(self, name, None) for name in ('ln1', 'ln2')]
            frozen += [norm for norm in norms if norm is not None]
        return frozen

    def grid(self, x: Tensor) -> tuple[int, int]:
        """Rows and columns of the patch grid of images ``(B, C, H, W)``."""
        patch = self.patch_embed.projection.stride
        rows, columns = (-(-x.shape[i - 2] // patch[i]) for i in range(2))
        return rows, columns

    def embed(self, x: Tensor) -> tuple[Tensor, Tensor, tuple[int, int]]:
        """Cut images into patches.

        Args:
            x: Images, ``(B, C, H, W)``.

        Returns:
            Patch tokens without positions ``(B, L, D)``; positions of all
            tokens ``(1, num_extra_tokens + L, D)``, zeros without absolute
            positions; rows and columns of the patch grid.
        """
        patches, grid = self.patch_embed(x)
        if self.pos_embed is None:
            length = self.num_extra_tokens + patches.shape[1]
            shape = (1, length, self.embed_dims)
            return patches, patches.new_zeros(shape), grid
        position = resize_pos_embed(
            self.pos_embed,
            self.patch_resolution,
            grid,
            self.interpolate_mode,
            self.num_extra_tokens,
        )
        return patches, position, grid

    def prepend_class_token(self, patches: Tensor, position: Tensor) -> Tensor:
        """Put the class token, with its own position, before the patches.

        Args:
            patches: Tokens that have their positions, ``(B, N, D)``.
            position: Positions that begin with the class token's.

        Returns:
            Tokens, ``(B, 1 + N, D)``; unchanged without a class token.
        """
        if self.cls_token is not None:
            token = self.cls_token + position[:, :1]
            token = token.expand(len(patches), -1, -1)
            patches = torch.cat([token, patches], dim=1)
        return self.drop_after_pos(patches)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Encode whole images.

        Args:
            x: Images, ``(B, C, H, W)``, of any size; sides that the patch
                does not divide are padded with zeros.

        Returns:
            One tensor for each of ``out_indices``, shaped by ``out_type``.
        """
        patches, position, grid = self.embed(x)
        patches = patches + position[:, self.num_extra_tokens :]
        x = self.prepend_class_token(patches, position)
        bias = self.rel_pos_bias(grid) if self.rel_pos_bias else None
        outs = []
        for i, layer in enumerate(self.layers):
            x = layer(x, bias, grid)
            if i in self.out_indices:
                last = i == self.num_layers - 1
                if self.final_norm == 'every' or (last and self.final_norm):
                    outs.append(self._format_output(self.ln1(x), grid))
                else:
                    outs.append(self._format_output(x, grid))
        return tuple(outs)

    def _format_output(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        if self.out_type == 'raw':
            return x
        if self.out_type == 'cls_token':
            return x[:, 0]
        patches = x[:, self.num_extra_tokens :]
        if self.out_type == 'featmap':
            return patches.transpose(1, 2).unflatten(-1, grid).contiguous()
        return self.ln2(patches.mean(dim=1))

    def get_layer_depth(
        self, param_name: str, prefix: str = ''
    ) -> tuple[int, int]:
        """Depth for layer-wise learning-rate decay; see `layer_depth`."""
        return layer_depth(param_name, prefix, self.num_layers)


def _check_arguments(
    out_type: str,
    final_norm: bool | str,
    with_cls_token: bool,
    use_rel_pos_bias: bool,
    use_shared_rel_pos_bias: bool,
    window_size: tuple[int, int] | None,
) -> None:
    """Refuse arguments that have no meaning, alone or together."""
    if out_type not in OUT_TYPES:
        raise ValueError(
            f'out_type must be one of {OUT_TYPES}, got {out_type!r}'
        )
    if final_norm not in FINAL_NORMS:
        raise ValueError(
            f'final_norm must be one of {FINAL_NORMS}, got {final_norm!r}'
        )
    if out_type == 'cls_token' and not with_cls_token:
        raise ValueError("out_type='cls_token' needs with_cls_token=True")
    if use_rel_pos_bias and use_shared_rel_pos_bias:
        raise ValueError('use_rel_pos_bias and its shared form: not both')
    if not with_cls_token and (use_rel_pos_bias or use_shared_rel_pos_bias):
        raise ValueError('relative position bias needs a class token')
    if window_size is None:
        return
    if min(window_size) < 1:
        raise ValueError(
            f'window_size must be positive or None, got {window_size}'
        )
    if use_shared_rel_pos_bias:
        raise ValueError(
            'blocks with windows and blocks without cannot share a bias: set '
            'use_rel_pos_bias instead of use_shared_rel_pos_bias'
        )
