# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Mask R-CNN on COCO with windowed attention, for GPUs of little memory.

Blocks 3, 6, 9 and 12 attend to the whole image. The others attend within
windows of 14 x 14 patches, the grid of pretraining. This is not the authors'
recipe, and no result is known.
"""

_base_ = './mask-rcnn_beit-base-p16_cae-300e-pre_16xb2-amp-12e_coco.py'

model = dict(backbone=dict(window_size=14))
