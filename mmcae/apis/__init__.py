# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Functions for scripts and notebooks."""

from importlib import import_module
from typing import Any

import mmcae.namespace_guard  # noqa: F401
from mmcae.zoo.model_zoo import register_zoo

# `import mmcae` imports this file. These modules are imported at first use, so
# that it stays fast.
_HOMES = {
    'ImageReconstruction': 'mmcae.apis.image_reconstruction',
    'LoadedModel': 'mmcae.apis.loading',
    'Reconstruction': 'mmcae.apis.reconstruction',
    'attention_maps': 'mmcae.apis.attention',
    'encode_images': 'mmcae.apis.patch_features',
    'extract_features': 'mmcae.apis.features',
    'load_model': 'mmcae.apis.loading',
    'nearest_images': 'mmcae.apis.neighbors',
    'pca_colors': 'mmcae.apis.patch_features',
    'pipeline_samples': 'mmcae.apis.pipeline_samples',
    'pool_tokens': 'mmcae.apis.features',
    'project_to_plane': 'mmcae.apis.projection',
    'reconstruct': 'mmcae.apis.reconstruction',
    'reconstruct_batch': 'mmcae.apis.reconstruction',
    'reconstruct_many': 'mmcae.apis.reconstruction',
}

__all__ = [
    'ImageReconstruction',
    'LoadedModel',
    'Reconstruction',
    'attention_maps',
    'encode_images',
    'extract_features',
    'load_model',
    'nearest_images',
    'pca_colors',
    'pipeline_samples',
    'pool_tokens',
    'project_to_plane',
    'reconstruct',
    'reconstruct_batch',
    'reconstruct_many',
    'register_zoo',
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(_HOMES[name]), name)
