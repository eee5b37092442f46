# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Transforms."""

from .block_mask_generator import BlockMaskGenerator
from .load_image import LoadImage, UnreadableImageError
from .load_tokens import LoadTokens
from .masking import block_mask, random_mask
from .mmpretrain_names import (
    BEiTMaskGenerator,
    RandomResizedCropAndInterpolationWithTwoPic,
)
from .random_flip import RandomFlip
from .random_mask_generator import RandomMaskGenerator
from .random_resized_crop import RandomResizedCrop
from .resize import sample_crop_box
from .resize_edge import ResizeEdge
from .seeded import Seeded
from .two_view_crop import TwoViewRandomResizedCrop
from .two_view_resize import TwoViewResize

__all__ = [
    'BEiTMaskGenerator',
    'BlockMaskGenerator',
    'LoadImage',
    'LoadTokens',
    'RandomFlip',
    'RandomMaskGenerator',
    'RandomResizedCrop',
    'RandomResizedCropAndInterpolationWithTwoPic',
    'ResizeEdge',
    'Seeded',
    'TwoViewRandomResizedCrop',
    'TwoViewResize',
    'UnreadableImageError',
    'block_mask',
    'random_mask',
    'sample_crop_box',
]
