# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""UPerNet on ADE20K with CAE-base of 300 epochs: the authors' recipe.

They report 48.1 mIoU. 8 GPUs x 2 images are a batch of 16.
"""

_base_ = [
    '../../../_base_/models/upernet_beit-base-p16.py',
    '../../../_base_/datasets/ade20k_512.py',
    '../../../_base_/schedules/upernet_adamw_160k.py',
    '../../../_base_/segmentation_runtime.py',
]

# --cfg-options checkpoint=PATH names another encoder (benchmarks/README.md).
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

optim_wrapper = dict(optimizer=dict(lr=3e-4))
