# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""CAE-large as the authors intended it: ViT-L/16.

Regressor and decoder are as wide as the encoder. Initial weights are rescaled
by depth, as in BEiT, and layer scales start at 1e-5.
"""

_base_ = './cae_beit-base-p16.py'

model = dict(
    backbone=dict(
        arch='large', layer_scale_init_value=1e-5, weight_init='beit'
    ),
    neck=dict(
        embed_dims=1024,
        num_heads=16,
        layer_scale_init_value=1e-5,
        weight_init='beit',
    ),
)
