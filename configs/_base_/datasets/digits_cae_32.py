# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Digits of scikit-learn as a folder of images, for CAE at 32 px.

python tools/dataset_converters/digits.py data/digits
"""

data_root = 'data/digits/train'
batch_size = 32

train_pipeline = [
    dict(type='mmcae.LoadImage'),
    dict(
        type='mmcae.TwoViewResize',
        size=32,
        second_size=32,
        second_interpolation='bicubic',
    ),
    # Masks 8 of the 4 x 4 patches.
    dict(
        type='mmcae.BlockMaskGenerator',
        input_size=(4, 4),
        num_masking_patches=8,
        min_num_patches=2,
    ),
    dict(type='mmpretrain.PackInputs'),
]

train_dataloader = dict(
    batch_size=batch_size,
    num_workers=0,
    drop_last=True,
    sampler=dict(type='mmcae.SeededSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='mmcae.FolderDataset',
        data_root=data_root,
        cache=True,
        pipeline=train_pipeline,
    ),
)
