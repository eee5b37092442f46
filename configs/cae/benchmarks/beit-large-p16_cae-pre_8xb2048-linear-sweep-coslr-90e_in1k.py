# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Linear probing of CAE-large with several learning rates, as for base."""

_base_ = './beit-base-p16_cae-pre_8xb2048-linear-sweep-coslr-90e_in1k.py'

checkpoint = (
    'work_dirs/cae_beit-large-p16_32xb64-amp-coslr-1600e_in1k/epoch_1600.pth'
)

model = dict(
    backbone=dict(
        arch='large',
        layer_scale_init_value=1e-5,
        weight_init='beit',
        frozen_stages=24,
        init_cfg=dict(checkpoint=checkpoint),
    ),
    neck=dict(input_features=1024),
    head=dict(in_channels=1024),
)
