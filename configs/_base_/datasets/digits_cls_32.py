# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
r"""Labeled digits for classifiers, normalized as the tiny CAE sees them.

    python tools/dataset_converters/digits.py data/digits-classes \
        --class-folders
"""

data_root = 'data/digits-classes'

data_preprocessor = dict(
    type='mmpretrain.ClsDataPreprocessor',
    num_classes=10,
    mean=[76.5] * 3,
    std=[89.25] * 3,
    to_rgb=True,
)

test_pipeline = [
    dict(type='mmcae.LoadImage'),
    dict(
        type='mmpretrain.Resize',
        scale=32,
        backend='pillow',  # antialiased
        interpolation='bicubic',
    ),
    dict(type='mmpretrain.PackInputs'),
]
train_pipeline = test_pipeline

train_dataloader = dict(
    batch_size=64,
    num_workers=0,
    drop_last=True,
    sampler=dict(type='mmcae.SeededSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='mmpretrain.CustomDataset',
        data_root=data_root,
        data_prefix='train',
        pipeline=train_pipeline,
    ),
)

val_dataloader = dict(
    batch_size=200,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='mmpretrain.CustomDataset',
        data_root=data_root,
        data_prefix='test',
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
val_evaluator = dict(type='mmpretrain.Accuracy', topk=(1,))

test_dataloader = val_dataloader
test_evaluator = val_evaluator
