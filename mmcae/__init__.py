# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""mmcae: Context Autoencoder (CAE) pretraining for OpenMMLab."""

from mmcae.version import __version__

__all__ = ['__version__']
