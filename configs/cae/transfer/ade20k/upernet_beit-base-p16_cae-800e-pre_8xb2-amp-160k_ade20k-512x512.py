# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""UPerNet on ADE20K with CAE-base of 800 epochs: the authors' recipe.

They report 49.7 mIoU. 8 GPUs x 2 images are a batch of 16.
"""

_base_ = './upernet_beit-base-p16_cae-300e-pre_8xb2-amp-160k_ade20k-512x512.py'

checkpoint = (
    'work_dirs/cae_beit-base-p16_8xb256-amp-coslr-800e_in1k/epoch_800.pth'
)

model = dict(backbone=dict(init_cfg=dict(checkpoint=checkpoint)))

optim_wrapper = dict(optimizer=dict(lr=2e-4))
