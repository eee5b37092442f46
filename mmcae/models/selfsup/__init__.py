# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Self-supervised algorithms."""

from .cae import CAE
from .data_preprocessor import CAEDataPreprocessor

__all__ = ['CAE', 'CAEDataPreprocessor']
