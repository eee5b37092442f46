# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The encoder F of CAE as a vision transformer for whole images.

Paper: Context Autoencoder, arXiv 2202.03026, section 3.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from mmcv.cnn.bricks.transformer import PatchEmbed
from mmengine.model import ModuleList
from mmengine.utils import to_2tuple
from mmpretrain.models.backbones.base_backbone import BaseBackbone
from mmpretrain.models.utils import resize_pos_embed
from torch import Tensor, nn

from mmcae.checkpoint.load_with_report import ReportedLoad
from mmcae.registry import MODELS

from ..layers import (
    NORM_CFG,
    EncoderBlock,
    check_weight_init,
    drop_path_rates,
    init_module_,
    norm_layer,
    rescale_blocks_,
    sincos_position,
    trunc_normal_,
)
from . import adapt
from .arch import (
    ARCH_ZOO,
    arch_settings,
    block_indices,
    block_windows,
    layer_depth,
)

OUT_TYPES = ('raw', 'cls_token', 'featmap', 'avg_featmap')
FINAL_NORMS = (False, True, 'every')
#: Arguments of mmpretrain's ``BEiTViT`` that have a single value here. Its
#: configs give them, so that value is accepted.
FIXED_ARGUMENTS = dict(
    with_cls_token=True,
    use_shared_rel_pos_bias=False,
    patch_cfg={},
    layer_cfgs={},
)


class PatchEmbedding(NamedTuple):
    """What `CAEViT.embed` makes of images.

    Attributes:
        tokens: Patch tokens without positions, ``(B, L, D)``.
        position: Positions of the class token and of the patches,
            ``(1, 1 + L, D)``; zeros without absolute positions.
        grid: Rows and columns of the patch grid, ``L`` in all.
    """

    tokens: Tensor
    position: Tensor
    grid: tuple[int, int]


@MODELS.register_module()
class CAEViT(ReportedLoad, BaseBackbone):
    """The vision transformer that CAE pretrains, on whole images.

    It has the tensor names of mmpretrain's ``BEiTViT``. It differs in two
    points: drop path acts once on each branch, not twice, and the authors'
    frozen sine-cosine positions are added by default.

    Args:
        arch: ``'small'``, ``'base'``, ``'large'`` or their initials, any
            other name that ``BEiTViT`` knows (such as ``'deit-tiny'``), or a
            dict with the keys ``embed_dims``, ``num_layers``, ``num_heads``
            and ``feedforward_channels``. ``'small'`` is the authors' (384
            wide, 12 blocks), not mmpretrain's (768 wide, 8 blocks).
        img_size: Height and width of the usual input; for other inputs the
            positions of its grid are interpolated. For inputs of many sizes
            keep the size of pretraining: positions are then resized only
            once.
        patch_size: Side or sides of a patch.
        in_channels: Channels of the image.
        out_indices: Blocks whose output is returned; negative ones count
            from the end.
        drop_rate: Dropout after the position table and the projections.
        drop_path_rate: Stochastic depth of the last block; the rates of
            earlier blocks grow linearly from 0.
        bias: ``'qv_bias'``, ``True`` or ``False``; see `SelfAttention`.
        norm_cfg: Normalization. Defaults to LayerNorm with eps 1e-6.
        final_norm: Whether the output of the last block is normalized
            (tensor ``ln1``); ``'every'`` normalizes each returned output
            with it.
        out_type: ``'raw'`` (B, 1 + L, D), ``'cls_token'`` (B, D),
            ``'featmap'`` (B, D, h, w) or ``'avg_featmap'``: the normalized
            mean of the patch tokens, (B, D) (tensor ``ln2``).
        frozen_stages: How many of the first blocks are frozen, together with
            the embedding before them. -1 or 0 freezes nothing.
        use_abs_pos_emb: Whether the sine-cosine positions are added.
        use_rel_pos_bias: Whether each block has a relative position bias.
        interpolate_mode: How positions are resized.
        layer_scale_init_value: Initial layer scale; 0 or None for none.
        weight_init: ``'xavier'`` (small, base) or ``'beit'`` (large).
        window_size: Side or sides, in patches, of the attention windows, for
            large images. None: every block attends to the whole grid.
        global_indices: With windows, the blocks that attend to the whole
            grid. Defaults to four, evenly spread.
        with_cp: Whether blocks keep only their input and are computed again
            for the backward pass.
        init_cfg: Initialization config of mmengine. Defaults to None.
        **fixed: `FIXED_ARGUMENTS` with the values given there.

    Raises:
        ValueError: If an argument has no meaning; the message names it.
        TypeError: If there is no such argument.
    """

    arch_zoo = ARCH_ZOO
    #: The class token, which stands before the patches.
    num_extra_tokens = 1

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
        frozen_stages: int = -1,
        use_abs_pos_emb: bool = True,
        use_rel_pos_bias: bool = True,
        interpolate_mode: str = 'bicubic',
        layer_scale_init_value: float | None = 0.1,
        weight_init: str = 'xavier',
        window_size: int | tuple[int, int] | None = None,
        global_indices: Sequence[int] | None = None,
        with_cp: bool = False,
        init_cfg: dict | list[dict] | None = None,
        **fixed: Any,
    ) -> None:
        super().__init__(init_cfg)
        _check_fixed(type(self).__name__, fixed)
        if out_type not in OUT_TYPES:
            raise ValueError(
                f'out_type must be one of {OUT_TYPES}, got {out_type!r}'
            )
        if final_norm not in FINAL_NORMS:
            raise ValueError(
                f'final_norm must be one of {FINAL_NORMS}, got {final_norm!r}'
            )
        self.arch_settings = arch_settings(arch)
        self.embed_dims = self.arch_settings['embed_dims']
        self.num_layers = self.arch_settings['num_layers']
        self.out_type = out_type
        self.out_indices = block_indices(out_indices, self.num_layers)
        self.img_size = to_2tuple(img_size)
        self.interpolate_mode = interpolate_mode
        self.weight_init = check_weight_init(weight_init)
        self.frozen_stages = frozen_stages
        self.final_norm = final_norm

        self.patch_embed = PatchEmbed(
            in_channels=in_channels,
            input_size=self.img_size,
            embed_dims=self.embed_dims,
            kernel_size=patch_size,
            stride=patch_size,
        )
        self.patch_resolution: tuple[int, int] = self.patch_embed.init_out_size
        self.cls_token = nn.Parameter(torch.zeros(1, 1, self.embed_dims))
        self.pos_embed: nn.Parameter | None = None
        if use_abs_pos_emb:
            # A parameter that is never trained, as in mmpretrain.
            table = sincos_position(
                self.patch_resolution, self.embed_dims, self.num_extra_tokens
            )
            self.pos_embed = nn.Parameter(table, requires_grad=False)
        self.drop_after_pos = nn.Dropout(drop_rate)
        windows = block_windows(
            _window(window_size), global_indices, self.num_layers
        )
        rates = drop_path_rates(drop_path_rate, self.num_layers)
        self.layers = ModuleList(
            EncoderBlock(
                self.embed_dims,
                self.arch_settings['num_heads'],
                self.arch_settings['feedforward_channels'],
                layer_scale_init_value=layer_scale_init_value,
                bias_grid=(window or self.patch_resolution)
                if use_rel_pos_bias
                else None,
                window_size=window,
                drop_rate=drop_rate,
                drop_path_rate=rate,
                bias=bias,
                norm_cfg=norm_cfg,
                with_cp=with_cp,
            )
            for window, rate in zip(windows, rates, strict=True)
        )
        # A norm that is not used is the identity and has no tensors.
        self.ln1, self.ln2 = (
            norm_layer(norm_cfg, self.embed_dims) if wanted else nn.Identity()
            for wanted in (final_norm, out_type == 'avg_featmap')
        )
        self._register_load_state_dict_pre_hook(self._adapt_state_dict)
        for module in self._frozen_modules():
            module.requires_grad_(False)
        if frozen_stages > 0:
            self.cls_token.requires_grad_(False)

    def init_weights(self) -> None:
        """Draw the initial weights; ``init_cfg`` is applied afterwards."""
        init_module_(self, self.weight_init)
        if self.weight_init == 'beit':
            rescale_blocks_(self.layers)
        trunc_normal_(self.cls_token)
        super().init_weights()

    def _adapt_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *_: Any
    ) -> None:
        adapt.fit_patch_channels(
            state_dict,
            f'{prefix}patch_embed.projection.weight',
            self.patch_embed.projection.in_channels,
        )
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
            has_pooled=self.out_type == 'avg_featmap',
        )
        grids, indices = {}, {}
        for i, layer in enumerate(self.layers):
            if layer.attn.bias_grid is None:
                continue
            start = f'{prefix}layers.{i}.attn.relative_position_'
            grids[f'{start}bias_table'] = layer.attn.bias_grid
            indices[f'{start}index'] = layer.attn.relative_position_index
        adapt.copy_shared_bias(state_dict, prefix, list(grids))
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
            frozen += [self.ln1, self.ln2]
        return frozen

    def grid(self, x: Tensor) -> tuple[int, int]:
        """Rows and columns of the patch grid of images ``(B, C, H, W)``."""
        patch = self.patch_embed.projection.stride
        rows, columns = (-(-x.shape[i - 2] // patch[i]) for i in range(2))
        return rows, columns

    def embed(self, x: Tensor) -> PatchEmbedding:
        """Cut images ``(B, C, H, W)`` into patches and embed them."""
        tokens, grid = self.patch_embed(x)
        if self.pos_embed is None:
            length = self.num_extra_tokens + tokens.shape[1]
            position = tokens.new_zeros(1, length, self.embed_dims)
        else:
            position = resize_pos_embed(
                self.pos_embed,
                self.patch_resolution,
                grid,
                self.interpolate_mode,
                self.num_extra_tokens,
            )
        return PatchEmbedding(tokens, position, grid)

    def prepend_class_token(self, patches: Tensor, position: Tensor) -> Tensor:
        """Put the class token, with its own position, before the patches.

        Args:
            patches: Tokens that have their positions, ``(B, N, D)``.
            position: Positions that begin with the class token's.

        Returns:
            Tokens, ``(B, 1 + N, D)``.
        """
        token = (self.cls_token + position[:, :1]).expand(len(patches), -1, -1)
        return self.drop_after_pos(torch.cat([token, patches], dim=1))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Encode whole images.

        Args:
            x: Images, ``(B, C, H, W)``, of any size; sides that the patch
                does not divide are padded with zeros.

        Returns:
            One tensor for each of ``out_indices``, shaped by ``out_type``.
        """
        tokens, position, grid = self.embed(x)
        x = self.prepend_class_token(tokens + position[:, 1:], position)
        outs = []
        for i, layer in enumerate(self.layers):
            x = layer(x, grid)
            if i in self.out_indices:
                last = i == self.num_layers - 1
                normed = last or self.final_norm == 'every'
                out = self.ln1(x) if normed else x
                outs.append(self._format_output(out, grid))
        return tuple(outs)

    def _format_output(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        if self.out_type == 'raw':
            return x
        if self.out_type == 'cls_token':
            return x[:, 0]
        patches = x[:, 1:]
        if self.out_type == 'featmap':
            return patches.transpose(1, 2).unflatten(-1, grid).contiguous()
        return self.ln2(patches.mean(dim=1))

    def get_layer_depth(
        self, param_name: str, prefix: str = ''
    ) -> tuple[int, int]:
        """Depth for layer-wise learning-rate decay; see `layer_depth`."""
        return layer_depth(param_name, prefix, self.num_layers)


def _window(
    window_size: int | tuple[int, int] | None,
) -> tuple[int, int] | None:
    """Rows and columns of a window given by its side or sides."""
    if window_size is None:
        return None
    rows, columns = to_2tuple(window_size)
    if min(rows, columns) < 1:
        raise ValueError(
            f'window_size must be positive or None, got {(rows, columns)}'
        )
    return rows, columns


def _check_fixed(name: str, given: dict[str, Any]) -> None:
    """Refuse arguments that do not exist, or that have another value."""
    for argument, value in given.items():
        if argument not in FIXED_ARGUMENTS:
            raise TypeError(f'{name} has no argument {argument!r}')
        if value != FIXED_ARGUMENTS[argument]:
            raise ValueError(
                f'{argument}={value!r} is not supported by {name}, only '
                f'{FIXED_ARGUMENTS[argument]!r}: set other arguments, such '
                'as bias or use_rel_pos_bias, or use mmpretrain.BEiTViT'
            )
