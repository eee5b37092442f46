# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""mmpretrain's ``ResizeEdge`` for images with any number of channels."""

import numpy as np
from mmpretrain.datasets.transforms import ResizeEdge as MMPretrainResizeEdge

from mmcae.registry import TRANSFORMS

from .resize import check_interpolation, crop, resize


@TRANSFORMS.register_module()
class ResizeEdge(MMPretrainResizeEdge):
    """Resize an image so that one edge gets a length.

    8-bit color images become those of mmpretrain's class. Others,
    which its backends cannot resize, are resized channel by channel, with
    antialiasing.

    Args:
        scale: Length of the edge in pixels.
        edge: ``'short'``, ``'long'``, ``'width'`` or ``'height'``.
        backend: ``'cv2'`` or ``'pillow'``, for 8-bit color.
        interpolation: The filter, a name that the backend knows.
    """

    def _resize_img(self, results: dict) -> None:
        img = results['img']
        channels = img.shape[2] if img.ndim == 3 else 1
        if img.dtype == np.uint8 and channels == 3:
            super()._resize_img(results)
            return
        width, height = results['scale']
        before = img.shape[:2]
        name = check_interpolation(self.interpolation)
        img = resize(crop(img, None), (height, width), name)
        results['img'] = img.reshape(height, width, channels)
        results['img_shape'] = (height, width)
        results['scale_factor'] = (width / before[1], height / before[0])
