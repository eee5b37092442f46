# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Classifier on the tiny CAE of emoji; the configs say how it is trained."""

_base_ = './classifier_tiny-p8_digits-32px.py'

checkpoint = 'work_dirs/cae_tiny-p8_1xb32-coslr-30e_emoji-48px/epoch_30.pth'

model = dict(
    backbone=dict(
        arch=dict(embed_dims=96, num_heads=3, feedforward_channels=384),
        img_size=48,
        init_cfg=dict(checkpoint=checkpoint),
    ),
    head=dict(num_classes=9, in_channels=96),
)
