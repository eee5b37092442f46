# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""What a script or a notebook imports."""

from mmcae.apis.zoo import register_zoo

__all__ = ['register_zoo']
