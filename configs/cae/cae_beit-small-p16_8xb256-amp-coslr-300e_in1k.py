# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""CAE-small, 300 epochs on ImageNet-1K.

The authors publish this model (384 wide, 12 heads) without a recipe. Here it
is trained by their recipe for base, with regressor and decoder as wide as the
encoder.
"""

_base_ = './cae_beit-base-p16_8xb256-amp-coslr-300e_in1k.py'

model = dict(
    backbone=dict(arch='small'), neck=dict(embed_dims=384, num_heads=12)
)
