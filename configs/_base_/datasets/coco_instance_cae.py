# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""COCO 2017 with instance masks, augmented as in the authors' code.

Half of the training images are resized to a short side of 480 to 800. The
others are first resized to a short side of 400, 500 or 600 and cropped.

Transforms have no scope, because mmdetection's inferencer looks for their bare
names.
"""

_base_ = 'mmdet::_base_/datasets/coco_instance.py'

data_root = 'data/coco/'
max_side = 1333

resize = dict(
    type='RandomChoiceResize',
    scales=[(side, max_side) for side in range(480, 801, 32)],
    keep_ratio=True,
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='RandomFlip', prob=0.5),
    dict(
        type='RandomChoice',
        transforms=[
            [resize],
            [
                dict(
                    type='RandomChoiceResize',
                    scales=[(side, max_side) for side in (400, 500, 600)],
                    keep_ratio=True,
                ),
                dict(
                    type='RandomCrop',
                    crop_type='absolute_range',
                    crop_size=(384, 600),
                    allow_negative_crop=True,
                ),
                resize,
            ],
        ],
    ),
    dict(type='PackDetInputs'),
]

train_dataloader = dict(
    batch_size=2, num_workers=4, dataset=dict(pipeline=train_pipeline)
)
val_dataloader = dict(num_workers=4)
test_dataloader = dict(num_workers=4)
