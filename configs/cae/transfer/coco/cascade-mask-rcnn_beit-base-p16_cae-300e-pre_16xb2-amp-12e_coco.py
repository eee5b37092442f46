# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Cascade Mask R-CNN on COCO with CAE-base of 300 epochs.

The recipe is that of Mask R-CNN: for this model the authors give neither a
recipe nor a result. 16 GPUs x 2 images are a batch of 32.
"""

_base_ = [
    '../../../_base_/models/cascade-mask-rcnn_beit-base-p16.py',
    '../../../_base_/datasets/coco_instance_cae.py',
    '../../../_base_/schedules/mask-rcnn_adamw_12e.py',
    '../../../_base_/detection_runtime.py',
]

checkpoint = (
    'work_dirs/cae_beit-base-p16_8xb256-amp-coslr-300e_in1k/epoch_300.pth'
)

model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained', checkpoint=checkpoint, prefix='backbone.'
        )
    )
)
