# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Feature maps of four scales from four blocks of a vision transformer."""

from collections.abc import Sequence

from mmcv.cnn import build_norm_layer
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmcae.registry import MODELS

PATCH_SIZES = (8, 16)


def _enlarge(embed_dims: int) -> nn.Module:
    return nn.ConvTranspose2d(embed_dims, embed_dims, kernel_size=2, stride=2)


def _shrink(factor: int, ceil_mode: bool) -> nn.Module:
    return nn.MaxPool2d(factor, stride=factor, ceil_mode=ceil_mode)


@MODELS.register_module()
class FeaturePyramid(BaseModule):
    """Bring four feature maps of one size to strides 4, 8, 16 and 32.

    Every level comes from a different block of the encoder and keeps its
    width. Tensors have the names of mmsegmentation's ``Feature2Pyramid``
    (``upsample_4x.{0,1,3}``, ``upsample_2x.0``); the authors call them
    ``fpn1`` and ``fpn2``. In an mmdetection model it stands before the FPN:
    ``neck=[dict(type='mmcae.FeaturePyramid', ...), dict(type='FPN', ...)]``.

    Args:
        embed_dims: Width ``D`` of the encoder.
        norm_cfg: Batch normalization of the finest level. Defaults to SyncBN
            as in the authors' code; without distributed training it acts as
            ordinary batch normalization, also on the CPU.
        patch_size: Side of the encoder's patches, 16 or 8.
        ceil_mode: How odd sides of a grid are halved (with patches of 8:
            sides that are no multiple of four). False, as in the authors'
            code, rounds the sides of the coarser levels down, which leaves
            out the last row and column of patches. True rounds them up.
        init_cfg: Initialization config of mmengine. Defaults to None.

    Raises:
        ValueError: If ``patch_size`` is neither 16 nor 8.
    """

    strides = (4, 8, 16, 32)

    def __init__(
        self,
        embed_dims: int = 768,
        norm_cfg: dict = dict(type='SyncBN'),
        patch_size: int = 16,
        ceil_mode: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if patch_size not in PATCH_SIZES:
            raise ValueError(
                f'patch_size must be one of {PATCH_SIZES}, got {patch_size}'
            )
        self.upsample_2x = nn.Sequential(_enlarge(embed_dims))
        self.identity = nn.Identity()
        self.downsample_2x = _shrink(2, ceil_mode)
        if patch_size == 16:
            self.upsample_4x = nn.Sequential(
                _enlarge(embed_dims),
                build_norm_layer(norm_cfg, embed_dims)[1],
                nn.GELU(),
                _enlarge(embed_dims),
            )
            names = 'upsample_4x', 'upsample_2x', 'identity', 'downsample_2x'
        else:
            self.downsample_4x = _shrink(4, ceil_mode)
            names = 'upsample_2x', 'identity', 'downsample_2x', 'downsample_4x'
        self.levels = names
        self.ceil_mode = ceil_mode
        #: Fewest rows and columns of a grid: the coarsest level needs one.
        self.least_side = 1 if ceil_mode else self.strides[-1] // patch_size

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Resample the outputs of four blocks.

        Args:
            inputs: Four feature maps of the patch grid, ``(B, D, h, w)``,
                from the earliest block to the last.

        Returns:
            Feature maps of strides 4, 8, 16 and 32; see ``ceil_mode`` for
            odd grids.

        Raises:
            ValueError: If there are not four feature maps, or they are too
                small for the coarsest level.
        """
        if len(inputs) != len(self.levels):
            raise ValueError(
                f'{len(self.levels)} feature maps are needed, got '
                f'{len(inputs)}: set four out_indices in the backbone'
            )
        rows, columns = inputs[-1].shape[-2:]
        if min(rows, columns) < self.least_side:
            raise ValueError(
                f'a grid of {rows} x {columns} patches has no level of stride '
                f'{self.strides[-1]}: each side needs {self.least_side} '
                'patches. Use larger images, or ceil_mode=True'
            )
        return tuple(
            getattr(self, name)(feature)
            for name, feature in zip(self.levels, inputs, strict=True)
        )
