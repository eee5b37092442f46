# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Target generators: what turns an image into visual tokens."""

from mmcae.models.target_generators.dalle_decoder import DALLEDecoder
from mmcae.models.target_generators.dalle_encoder import DALLEEncoder
from mmcae.models.target_generators.dalle_layers import (
    map_pixels,
    unmap_pixels,
)
from mmcae.models.target_generators.dvae import DVAE

__all__ = [
    'DVAE',
    'DALLEDecoder',
    'DALLEEncoder',
    'map_pixels',
    'unmap_pixels',
]
