# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Mask R-CNN on COCO with CAE-base of 1600 epochs: the authors' recipe.

They report 50.3 box AP and 44.2 mask AP. 16 GPUs x 2 images are a batch of 32.
"""

_base_ = './mask-rcnn_beit-base-p16_cae-300e-pre_16xb2-amp-12e_coco.py'

checkpoint = (
    'work_dirs/cae_beit-base-p16_8xb256-amp-coslr-1600e_in1k/epoch_1600.pth'
)

model = dict(backbone=dict(init_cfg=dict(checkpoint=checkpoint)))
