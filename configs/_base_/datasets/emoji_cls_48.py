# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Labeled emoji for classifiers, normalized as the tiny CAE sees them.

The images are written by tools/dataset_converters/emoji.py.
"""

_base_ = './digits_cls_32.py'

data_root = 'data/emoji'

data_preprocessor = dict(
    num_classes=9, mean=[204.0, 191.3, 178.5], std=[76.5, 74.0, 86.7]
)

train_pipeline = [
    dict(type='mmcae.LoadImage'),
    dict(
        type='mmpretrain.Resize',
        scale=48,
        backend='pillow',  # antialiased
        interpolation='bicubic',
    ),
    dict(type='mmcae.RandomFlip', prob=0.5),
    dict(type='mmpretrain.PackInputs'),
]
test_pipeline = [
    dict(type='mmcae.LoadImage'),
    dict(
        type='mmpretrain.Resize',
        scale=48,
        backend='pillow',
        interpolation='bicubic',
    ),
    dict(type='mmpretrain.PackInputs'),
]

train_dataloader = dict(
    dataset=dict(data_root=data_root, pipeline=train_pipeline)
)
val_dataloader = dict(
    dataset=dict(data_root=data_root, pipeline=test_pipeline)
)
test_dataloader = val_dataloader
