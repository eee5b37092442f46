# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""One random crop seen twice: by the encoder and by the tokenizer."""

from collections.abc import Sequence

from mmcv.transforms import BaseTransform

from mmcae.datasets.sample_seed import sample_rng
from mmcae.registry import TRANSFORMS

from .resize import (
    check_backend,
    check_interpolation,
    check_range,
    crop,
    resize_views,
    sample_crop_box,
    to_pair,
)


@TRANSFORMS.register_module()
class TwoViewRandomResizedCrop(BaseTransform):
    """Cut out one random box and resize it to two sizes.

    Required key: ``img`` (uint8). Modified keys: ``img``, now the list
    ``[view, target]`` that ``PackInputs`` turns into the two inputs of
    ``TwoNormDataPreprocessor``, and ``img_shape``. Added key:
    ``target_img``, the second view. Where ``LoadTokens`` found ``tokens``
    there is no second view.

    Both views are resized, antialiased, from the crop itself.

    Args:
        size: Size of the encoder's image: one number or ``(h, w)``.
        second_size: Size of the tokenizer's image.
        scale: Range of the box's share of the image's area.
        ratio: Range of the box's width to height.
        interpolation: Filter of the first view.
        second_interpolation: Filter of the second view.
        backend: ``'pil'``, or ``'fast'``: vector kernels within 0.05 gray
            levels of PIL's on average, where they are installed.

    Raises:
        ValueError: If a size, a range, a filter's name or the back end is not
            valid.
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
        self.size = to_pair(size, 'size')
        self.second_size = to_pair(second_size, 'second_size')
        self.scale = check_range(scale, 'scale')
        self.ratio = check_range(ratio, 'ratio')
        self.interpolation = check_interpolation(interpolation)
        self.second_interpolation = check_interpolation(second_interpolation)
        self.backend = check_backend(backend)

    def transform(self, results: dict) -> dict:
        """Replace the image by its two views."""
        img = results['img']
        height, width = img.shape[:2]
        box = sample_crop_box(
            sample_rng(results, 'crop'), height, width, self.scale, self.ratio
        )
        part = crop(img, box)
        views = [(self.size, self.interpolation)]
        if 'tokens' not in results:  # else nobody looks at the second view
            views.append((self.second_size, self.second_interpolation))
        results['img'] = resize_views(part, views, self.backend)
        results['img_shape'] = self.size
        if len(views) == 2:
            results['target_img'] = results['img'][1]
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(size={self.size}, '
            f'second_size={self.second_size}, scale={self.scale}, '
            f'ratio=({self.ratio[0]:.4g}, {self.ratio[1]:.4g}), '
            f'interpolation={self.interpolation!r}, '
            f'second_interpolation={self.second_interpolation!r}, '
            f'backend={self.backend!r})'
        )
