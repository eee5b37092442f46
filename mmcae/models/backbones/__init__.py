# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Encoders."""

from .cae_pretrain_vit import CAEPretrainViT
from .cae_vit import CAEViT

__all__ = ['CAEPretrainViT', 'CAEViT']
