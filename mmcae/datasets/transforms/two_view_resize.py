# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Two views of the whole image: for the encoder and for the tokenizer."""

from collections.abc import Sequence

from mmcae.registry import TRANSFORMS

from .resize import crop
from .two_view_transform import TwoViewTransform


@TRANSFORMS.register_module()
class TwoViewResize(TwoViewTransform):
    """Resize the whole image to two sizes, without any randomness.

    The keys are those of :class:`TwoViewRandomResizedCrop`.

    Args:
        size: Size of the encoder's image: one number or ``(h, w)``.
        second_size: Size of the tokenizer's image.
        interpolation: Filter of the first view.
        second_interpolation: Filter of the second view.
        backend: As for :class:`TwoViewRandomResizedCrop`.

    Raises:
        ValueError: If a size, the name of a filter or the backend is not
            valid.
    """

    def __init__(
        self,
        size: int | Sequence[int] = 224,
        second_size: int | Sequence[int] = 112,
        interpolation: str = 'bicubic',
        second_interpolation: str = 'lanczos',
        backend: str = 'pil',
    ) -> None:
        super().__init__(
            size, second_size, interpolation, second_interpolation, backend
        )

    def transform(self, results: dict) -> dict:
        """Replace the image by its two views."""
        return self._add_views(results, crop(results['img'], None))

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(size={self.size}, '
            f'second_size={self.second_size}, '
            f'interpolation={self.interpolation!r}, '
            f'second_interpolation={self.second_interpolation!r}, '
            f'backend={self.backend!r})'
        )
