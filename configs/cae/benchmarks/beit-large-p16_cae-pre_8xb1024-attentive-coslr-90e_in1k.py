# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Attentive probing of CAE-large on ImageNet-1K: as for base.

The authors report 81.2 % with their encoder of 1600 epochs. 8 GPUs x 1024
images are a batch of 8192.
"""

_base_ = './beit-base-p16_cae-pre_8xb1024-attentive-coslr-90e_in1k.py'

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
    head=dict(in_channels=1024, num_heads=16),
)
