# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The whole image seen twice: by the encoder and by the tokenizer."""

from collections.abc import Sequence

from mmcv.transforms import BaseTransform

from mmcae.registry import TRANSFORMS

from .resize import (
    check_backend,
    check_interpolation,
    crop,
    resize_views,
    to_pair,
)


@TRANSFORMS.register_module()
class TwoViewResize(BaseTransform):
    """Resize the whole image to two sizes, without any randomness.

    Keys as :class:`TwoViewRandomResizedCrop`'s.

    Args:
        size: Size of the encoder's image: one number or ``(h, w)``.
        second_size: Size of the tokenizer's image.
        interpolation: Filter of the first view.
        second_interpolation: Filter of the second view.
        backend: As for :class:`TwoViewRandomResizedCrop`.

    Raises:
        ValueError: If a size, a filter's name or the back end is not valid.
    """

    def __init__(
        self,
        size: int | Sequence[int] = 224,
        second_size: int | Sequence[int] = 112,
        interpolation: str = 'bicubic',
        second_interpolation: str = 'lanczos',
        backend: str = 'pil',
    ) -> None:
        self.size = to_pair(size, 'size')
        self.second_size = to_pair(second_size, 'second_size')
        self.interpolation = check_interpolation(interpolation)
        self.second_interpolation = check_interpolation(second_interpolation)
        self.backend = check_backend(backend)

    def transform(self, results: dict) -> dict:
        """Replace the image by its two views."""
        whole = crop(results['img'], None)
        views = [(self.size, self.interpolation)]
        if 'tokens' not in results:  # else nobody looks at the second view
            views.append((self.second_size, self.second_interpolation))
        results['img'] = resize_views(whole, views, self.backend)
        results['img_shape'] = self.size
        if len(views) == 2:
            results['target_img'] = results['img'][1]
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(size={self.size}, '
            f'second_size={self.second_size}, '
            f'interpolation={self.interpolation!r}, '
            f'second_interpolation={self.second_interpolation!r}, '
            f'backend={self.backend!r})'
        )
