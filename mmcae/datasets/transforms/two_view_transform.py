# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Base class of the transforms that make two views of an image."""

from collections.abc import Sequence

import numpy as np
from mmcv.transforms import BaseTransform

from .resize import (
    check_backend,
    check_interpolation,
    kernels_of,
    resize_views,
    to_pair,
)


class TwoViewTransform(BaseTransform):
    """Resize a part of the image for the encoder and for the tokenizer.

    A subclass chooses the part.

    Args:
        size: Size of the encoder's image: one number or ``(h, w)``.
        second_size: Size of the tokenizer's image.
        interpolation: Filter of the first view.
        second_interpolation: Filter of the second view.
        backend: ``'pil'`` or ``'fast'``.

    Raises:
        ValueError: If a size, the name of a filter or the backend is not
            valid.
    """

    def __init__(
        self,
        size: int | Sequence[int],
        second_size: int | Sequence[int],
        interpolation: str,
        second_interpolation: str,
        backend: str,
    ) -> None:
        self.size = to_pair(size, 'size')
        self.second_size = to_pair(second_size, 'second_size')
        self.interpolation = check_interpolation(interpolation)
        self.second_interpolation = check_interpolation(second_interpolation)
        self.backend = check_backend(backend)

    def skip_first_view(self) -> None:
        """Make the encoder's view tiny, for runs that only need tokens."""
        self.size = (1, 1)
        self.interpolation = 'nearest'

    def target_view_settings(self) -> dict:
        """Describe the second view: its size, filter and kernels."""
        return dict(
            second_size=list(self.second_size),
            second_interpolation=self.second_interpolation,
            # 'fast' uses PIL where the fast library is not installed.
            backend=kernels_of(self.backend),
        )

    def _add_views(self, results: dict, part: np.ndarray) -> dict:
        views = [(self.size, self.interpolation)]
        if 'tokens' not in results:  # stored tokens replace the second view
            views.append((self.second_size, self.second_interpolation))
        results['img'] = resize_views(part, views, self.backend)
        results['img_shape'] = self.size
        if len(views) == 2:
            results['target_img'] = results['img'][1]
        return results
