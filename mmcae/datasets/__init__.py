# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Datasets, samplers and transforms."""

import mmcae.namespace_guard  # noqa: F401

from .collate import collate_views
from .folder_dataset import FolderDataset
from .imagenet import ImageNet
from .mask_folder import MaskFolderDataset
from .sample_seed import SampleIndex, sample_rng
from .samplers import SeededInfiniteSampler, SeededSampler
from .skip_unreadable import SkipUnreadableMixin
from .token_store import TokenStore
from .transforms import *  # noqa: F403
from .transforms import __all__ as _transforms

__all__ = [
    'FolderDataset',
    'ImageNet',
    'MaskFolderDataset',
    'SampleIndex',
    'SeededInfiniteSampler',
    'SeededSampler',
    'SkipUnreadableMixin',
    'TokenStore',
    'collate_views',
    'sample_rng',
    *_transforms,
]
