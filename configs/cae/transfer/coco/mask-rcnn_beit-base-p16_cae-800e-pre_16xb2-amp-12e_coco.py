# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Mask R-CNN on COCO with CAE-base of 800 epochs: the authors' recipe.

They report 49.9 box AP and 43.9 mask AP. 16 GPUs x 2 images are a batch of 32.
"""

_base_ = './mask-rcnn_beit-base-p16_cae-300e-pre_16xb2-amp-12e_coco.py'

checkpoint = (
    'work_dirs/cae_beit-base-p16_8xb256-amp-coslr-800e_in1k/epoch_800.pth'
)

model = dict(backbone=dict(init_cfg=dict(checkpoint=checkpoint)))
