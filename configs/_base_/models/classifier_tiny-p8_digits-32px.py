# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Classifier on the tiny CAE of digits; the configs say how it is trained."""

checkpoint = 'work_dirs/cae_tiny-p8_1xb32-coslr-80e_digits-32px/epoch_80.pth'

model = dict(
    type='mmpretrain.ImageClassifier',
    backbone=dict(
        type='mmcae.CAEViT',
        arch=dict(
            embed_dims=64, num_layers=4, num_heads=2, feedforward_channels=256
        ),
        img_size=32,
        patch_size=8,
        layer_scale_init_value=0.1,
        init_cfg=dict(
            type='Pretrained', checkpoint=checkpoint, prefix='backbone.'
        ),
    ),
    head=dict(num_classes=10, in_channels=64, topk=(1,)),
)
