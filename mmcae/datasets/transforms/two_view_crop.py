# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Two views of one random crop: for the encoder and for the tokenizer."""

from collections.abc import Sequence

from mmcae.datasets.sample_seed import sample_rng
from mmcae.registry import TRANSFORMS

from .resize import check_range, crop, sample_crop_box
from .two_view_transform import TwoViewTransform


@TRANSFORMS.register_module()
class TwoViewRandomResizedCrop(TwoViewTransform):
    """Crop one random box and resize it to two sizes.

    Required key: ``img`` (uint8). Modified keys: ``img``, now the list
    ``[view, target]`` that ``PackInputs`` turns into the two inputs of
    ``TwoNormDataPreprocessor``, and ``img_shape``. Added key:
    ``target_img``, the second view. If ``LoadTokens`` has added ``tokens``,
    there is no second view.

    Each view is resized directly from the crop, with antialiasing.

    Args:
        size: Size of the encoder's image: one number or ``(h, w)``.
        second_size: Size of the tokenizer's image.
        scale: Range of the box's area, as a fraction of the image's area.
        ratio: Range of the box's width to height.
        interpolation: Filter of the first view.
        second_interpolation: Filter of the second view.
        backend: ``'pil'``, or ``'fast'`` for vector kernels if they are
            installed. Their mean difference from PIL is below 0.05 gray
            levels.

    Raises:
        ValueError: If a size, a range, the name of a filter or the backend is
            not valid.
    """

    def __init__(
        self,
        size: int | Sequence[int] = 224,
        second_size: int | Sequence[int] = 112,
        scale: Sequence[float] = (0.08, 1.0),
        ratio: Sequence[float] = (3 / 4, 4 / 3),
        interpolation: str = 'bicubic',
        second_interpolation: str = 'lanczos',
        backend: str = 'pil',
    ) -> None:
        super().__init__(
            size, second_size, interpolation, second_interpolation, backend
        )
        self.scale = check_range(scale, 'scale')
        self.ratio = check_range(ratio, 'ratio')

    def transform(self, results: dict) -> dict:
        """Replace the image by its two views."""
        img = results['img']
        height, width = img.shape[:2]
        box = sample_crop_box(
            sample_rng(results, 'crop'), height, width, self.scale, self.ratio
        )
        return self._add_views(results, crop(img, box))

    def target_view_settings(self) -> dict:
        """Describe the crop and the second view."""
        return dict(
            super().target_view_settings(),
            scale=list(self.scale),
            ratio=list(self.ratio),
        )

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(size={self.size}, '
            f'second_size={self.second_size}, scale={self.scale}, '
            f'ratio=({self.ratio[0]:.4g}, {self.ratio[1]:.4g}), '
            f'interpolation={self.interpolation!r}, '
            f'second_interpolation={self.second_interpolation!r}, '
            f'backend={self.backend!r})'
        )
