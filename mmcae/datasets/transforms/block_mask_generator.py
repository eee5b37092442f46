# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""A transform that masks rectangular blocks of patches."""

from collections.abc import Sequence

from mmcv.transforms import BaseTransform

from mmcae.datasets.sample_seed import MASK_STREAM, sample_rng
from mmcae.registry import TRANSFORMS

from .masking import block_mask, check_mask_count
from .resize import to_pair


@TRANSFORMS.register_module()
class BlockMaskGenerator(BaseTransform):
    """Mask blocks of patches until exactly the given number is masked.

    Added key: ``mask``, True where a patch is masked, bool ``(h, w)``.
    :func:`~mmcae.datasets.transforms.masking.block_mask` draws it.

    Args:
        input_size: The grid of patches: one number or ``(rows, columns)``.
        num_masking_patches: How many patches to mask.
        min_num_patches: Smallest target area of a block, in patches.
        max_num_patches: Largest number of patches one block may add.
            Unlimited when None.
        min_aspect: Smallest ratio of a block's height to its width.
        max_aspect: Largest ratio; ``1 / min_aspect`` when None.

    Raises:
        ValueError: If the grid cannot hold that many masked patches, or a
            limit is out of range.
    """

    def __init__(
        self,
        input_size: int | Sequence[int],
        num_masking_patches: int,
        min_num_patches: int = 16,
        max_num_patches: int | None = None,
        min_aspect: float = 0.3,
        max_aspect: float | None = None,
    ) -> None:
        self.height, self.width = to_pair(input_size, 'input_size')
        check_mask_count(num_masking_patches, self.height, self.width)
        if min_num_patches < 1:
            raise ValueError(
                f'min_num_patches must be at least 1, got {min_num_patches}'
            )
        if max_num_patches is not None and max_num_patches < 1:
            raise ValueError(
                f'max_num_patches must be at least 1, got {max_num_patches}'
            )
        if min_aspect <= 0:
            raise ValueError(f'min_aspect must be positive, got {min_aspect}')
        largest = 1 / min_aspect if max_aspect is None else max_aspect
        if largest < min_aspect:
            raise ValueError(
                f'max_aspect ({largest:g}) must not be below min_aspect '
                f'({min_aspect:g})'
            )
        self.num_masking_patches = num_masking_patches
        self.min_num_patches = min_num_patches
        self.max_num_patches = max_num_patches
        self.min_aspect = min_aspect
        self.max_aspect = largest

    def transform(self, results: dict) -> dict:
        """Add ``mask`` to the results."""
        results['mask'] = block_mask(
            sample_rng(results, MASK_STREAM),
            self.height,
            self.width,
            self.num_masking_patches,
            self.min_num_patches,
            self.max_num_patches,
            self.min_aspect,
            self.max_aspect,
        )
        return results

    def target_view_settings(self) -> None:
        """Masks do not change the tokenizer's view."""

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}('
            f'input_size=({self.height}, {self.width}), '
            f'num_masking_patches={self.num_masking_patches}, '
            f'min_num_patches={self.min_num_patches}, '
            f'max_num_patches={self.max_num_patches}, '
            f'min_aspect={self.min_aspect:g}, '
            f'max_aspect={self.max_aspect:g})'
        )
