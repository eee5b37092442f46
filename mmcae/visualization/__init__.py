# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Figures of images, maps and training curves. Nothing here knows a model."""

import mmcae.namespace_guard  # noqa: F401

from .attention import attention_panels
from .contact_sheet import HeatMap, contact_sheet, render_map
from .embedding import Point, embedding_figure, embedding_page
from .figures import (
    curves,
    hide_patches,
    paint_masked,
    picture_table,
    to_png,
)
from .neighbors import neighbor_sheet
from .pair_sheet import pair_sheet
from .samples import sample_panels
from .saving import save_figure
from .strip import picture_strip, png_of

__all__ = [
    'HeatMap',
    'Point',
    'attention_panels',
    'contact_sheet',
    'curves',
    'embedding_figure',
    'embedding_page',
    'hide_patches',
    'neighbor_sheet',
    'paint_masked',
    'pair_sheet',
    'picture_strip',
    'picture_table',
    'png_of',
    'render_map',
    'sample_panels',
    'save_figure',
    'to_png',
]
