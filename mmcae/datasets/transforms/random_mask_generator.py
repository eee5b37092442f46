# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""A transform that masks patches independently of their position."""

from collections.abc import Sequence

from mmcv.transforms import BaseTransform

from mmcae.datasets.sample_seed import MASK_STREAM, sample_rng
from mmcae.registry import TRANSFORMS

from .masking import check_mask_count, random_mask
from .resize import to_pair


@TRANSFORMS.register_module()
class RandomMaskGenerator(BaseTransform):
    """Mask exactly the given number of patches, uniformly at random.

    Added key: ``mask``, True where a patch is masked, bool ``(h, w)``.

    Args:
        input_size: The grid of patches: one number or ``(rows, columns)``.
        num_masking_patches: How many patches to mask.
        mask_ratio: The fraction of the patches to mask; their number is
            rounded down. Give either this or ``num_masking_patches``.

    Raises:
        ValueError: If both or neither of ``num_masking_patches`` and
            ``mask_ratio`` are given, or the grid cannot hold that many masked
            patches.
    """

    def __init__(
        self,
        input_size: int | Sequence[int],
        num_masking_patches: int | None = None,
        mask_ratio: float | None = None,
    ) -> None:
        self.height, self.width = to_pair(input_size, 'input_size')
        if mask_ratio is not None and num_masking_patches is None:
            if not 0 <= mask_ratio <= 1:
                raise ValueError(
                    f'mask_ratio must lie between 0 and 1, got {mask_ratio}'
                )
            num_masking_patches = int(mask_ratio * self.height * self.width)
        elif num_masking_patches is None or mask_ratio is not None:
            raise ValueError(
                'give either num_masking_patches or mask_ratio, got '
                f'{num_masking_patches} and {mask_ratio}'
            )
        check_mask_count(num_masking_patches, self.height, self.width)
        self.num_masking_patches = num_masking_patches

    def transform(self, results: dict) -> dict:
        """Add ``mask`` to the results."""
        results['mask'] = random_mask(
            sample_rng(results, MASK_STREAM),
            self.height,
            self.width,
            self.num_masking_patches,
        )
        return results

    def target_view_settings(self) -> None:
        """Masks do not change the tokenizer's view."""

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}('
            f'input_size=({self.height}, {self.width}), '
            f'num_masking_patches={self.num_masking_patches})'
        )
