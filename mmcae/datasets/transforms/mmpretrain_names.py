# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Transforms with mmpretrain's names and defaults.

A config of mmpretrain can use them by adding ``mmcae.`` to their types.
"""

from collections.abc import Sequence

from mmcae.registry import TRANSFORMS

from .block_mask_generator import BlockMaskGenerator
from .two_view_crop import TwoViewRandomResizedCrop


@TRANSFORMS.register_module()
class BEiTMaskGenerator(BlockMaskGenerator):
    """:class:`BlockMaskGenerator` with mmpretrain's name and defaults.

    Args:
        input_size: The grid of patches: one number or ``(rows, columns)``.
        num_masking_patches: How many patches to mask.
        min_num_patches: Smallest target area of a block, in patches.
        **kwargs: Passed to :class:`BlockMaskGenerator`.
    """

    def __init__(
        self,
        input_size: int | Sequence[int],
        num_masking_patches: int,
        min_num_patches: int = 4,
        **kwargs,
    ) -> None:
        super().__init__(
            input_size, num_masking_patches, min_num_patches, **kwargs
        )


@TRANSFORMS.register_module()
class RandomResizedCropAndInterpolationWithTwoPic(TwoViewRandomResizedCrop):
    """:class:`TwoViewRandomResizedCrop` with mmpretrain's name and defaults.

    Args:
        size: Size of the encoder's image: one number or ``(h, w)``.
        second_size: Size of the tokenizer's image.
        scale: Range of the box's share of the image's area.
        ratio: Range of the box's width to height.
        interpolation: Filter of the first view. mmpretrain's ``'random'`` is
            not supported.
        second_interpolation: Filter of the second view.
        backend: As for :class:`TwoViewRandomResizedCrop`.
    """

    def __init__(
        self,
        size: int | Sequence[int],
        second_size: int | Sequence[int],
        scale: Sequence[float] = (0.08, 1.0),
        ratio: Sequence[float] = (3 / 4, 4 / 3),
        interpolation: str = 'bilinear',
        second_interpolation: str = 'lanczos',
        backend: str = 'pil',
    ) -> None:
        super().__init__(
            size,
            second_size,
            scale,
            ratio,
            interpolation,
            second_interpolation,
            backend,
        )
