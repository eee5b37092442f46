# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Self-supervised algorithms."""

from .cae import CAE

__all__ = ['CAE']
