# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Target generators: turn images into visual tokens, and back."""

from .dalle_decoder import DALLEDecoder
from .dalle_encoder import DALLEEncoder
from .dalle_layers import (
    map_pixels,
    unmap_pixels,
)
from .dvae import DVAE

__all__ = [
    'DVAE',
    'DALLEDecoder',
    'DALLEEncoder',
    'map_pixels',
    'unmap_pixels',
]
