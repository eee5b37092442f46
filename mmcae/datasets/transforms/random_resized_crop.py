# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""A random crop resized to one size."""

from collections.abc import Sequence

from mmcv.transforms import BaseTransform

from mmcae.datasets.sample_seed import sample_rng
from mmcae.registry import TRANSFORMS

from .resize import (
    check_backend,
    check_interpolation,
    check_range,
    crop,
    kernels_of,
    resize,
    sample_crop_box,
    to_pair,
)


@TRANSFORMS.register_module()
class RandomResizedCrop(BaseTransform):
    """Crop a random box and resize it, for example to train a tokenizer.

    Required and modified key: ``img`` (uint8); also sets ``img_shape``. For
    the same sample, :class:`TwoViewRandomResizedCrop` draws the same box.

    Args:
        size: Size of the result: one number or ``(h, w)``.
        scale: Range of the box's area, as a fraction of the image's area.
        ratio: Range of the box's width to height.
        interpolation: The filter.
        clip: Whether to draw the box only once and clip it to the image, as
            in linear probing. Otherwise up to ten boxes are drawn until one
            fits.
        backend: As for :class:`TwoViewRandomResizedCrop`.

    Raises:
        ValueError: If a size, a range, the name of a filter or the backend is
            not valid.
    """

    def __init__(
        self,
        size: int | Sequence[int],
        scale: Sequence[float] = (0.08, 1.0),
        ratio: Sequence[float] = (3 / 4, 4 / 3),
        interpolation: str = 'bicubic',
        clip: bool = False,
        backend: str = 'pil',
    ) -> None:
        self.size = to_pair(size, 'size')
        self.scale = check_range(scale, 'scale')
        self.ratio = check_range(ratio, 'ratio')
        self.interpolation = check_interpolation(interpolation)
        self.clip = clip
        self.backend = check_backend(backend)

    def transform(self, results: dict) -> dict:
        """Replace the image by the resized crop."""
        img = results['img']
        height, width = img.shape[:2]
        box = sample_crop_box(
            sample_rng(results, 'crop'),
            height,
            width,
            self.scale,
            self.ratio,
            self.clip,
        )
        results['img'] = resize(
            crop(img, box), self.size, self.interpolation, self.backend
        )
        results['img_shape'] = self.size
        return results

    def target_view_settings(self) -> dict:
        """Describe the crop and its kernels."""
        return dict(
            size=list(self.size),
            scale=list(self.scale),
            ratio=list(self.ratio),
            interpolation=self.interpolation,
            clip=self.clip,
            # 'fast' uses PIL where the fast library is not installed.
            backend=kernels_of(self.backend),
        )

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(size={self.size}, scale={self.scale}, '
            f'ratio=({self.ratio[0]:.4g}, {self.ratio[1]:.4g}), '
            f'interpolation={self.interpolation!r}, clip={self.clip}, '
            f'backend={self.backend!r})'
        )
