# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Figures of images and training curves."""

import mmcae.namespace_guard  # noqa: F401

from .figures import (
    curves,
    hide_patches,
    paint_masked,
    picture_table,
    to_png,
)

__all__ = ['curves', 'hide_patches', 'paint_masked', 'picture_table', 'to_png']
