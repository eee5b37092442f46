# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Mask R-CNN on COCO with CAE-large of 1600 epochs: the authors' recipe.

They report 54.5 box AP and 47.5 mask AP. 16 GPUs x 2 images are a batch of 32.
"""

_base_ = './mask-rcnn_beit-base-p16_cae-300e-pre_16xb2-amp-12e_coco.py'

checkpoint = (
    'work_dirs/cae_beit-large-p16_32xb64-amp-coslr-1600e_in1k/epoch_1600.pth'
)
width = 1024

model = dict(
    # The features are the outputs of blocks 8, 12, 16 and 24. Layer scales
    # come from the checkpoint; in pretraining they started at 1e-5.
    backbone=dict(
        arch='large',
        out_indices=(7, 11, 15, 23),
        layer_scale_init_value=1e-5,
        weight_init='beit',
        init_cfg=dict(checkpoint=checkpoint),
    ),
    neck=[
        dict(
            type='mmcae.FeaturePyramid',
            embed_dims=width,
            norm_cfg=dict(type='SyncBN', requires_grad=True),
        ),
        dict(
            type='FPN',
            in_channels=[width] * 4,
            out_channels=256,
            num_outs=5,
        ),
    ],
)

# The layer decay is milder than for base, and the peak is lower.
optim_wrapper = dict(
    optimizer=dict(lr=2e-4), paramwise_cfg=dict(layer_decay_rate=0.85)
)
