# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""UPerNet on ADE20K with CAE-large of 1600 epochs: the authors' recipe.

They report 54.9 mIoU. 8 GPUs x 2 images are a batch of 16.
"""

_base_ = './upernet_beit-base-p16_cae-300e-pre_8xb2-amp-160k_ade20k-512x512.py'

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
        drop_path_rate=0.15,
        layer_scale_init_value=1e-5,
        weight_init='beit',
        init_cfg=dict(checkpoint=checkpoint),
    ),
    neck=dict(embed_dims=width),
    decode_head=dict(in_channels=[width] * 4, channels=width),
    auxiliary_head=dict(in_channels=width),
)

# The layer decay is milder than for base, and the peak is lower.
optim_wrapper = dict(
    optimizer=dict(lr=4e-5), paramwise_cfg=dict(layer_decay_rate=0.95)
)

default_hooks = dict(checkpoint=dict(interval=32_000))
