# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""A tokenizer for emoji, colored drawings at 48 px: 128 codes.

python tools/dataset_converters/emoji.py data/emoji PACKAGES
python tools/train.py CONFIG
"""

_base_ = './dvae_f8-k64_1xb32-13e_digits-32px.py'

data_root = 'data/emoji/train'
max_epochs = 8  # of 95 iterations

pipeline = [
    dict(type='mmcae.LoadImage'),
    dict(
        type='mmcae.RandomResizedCrop',
        size=48,
        scale=(1.0, 1.0),
        ratio=(1.0, 1.0),
        interpolation='bicubic',
    ),
    dict(type='mmpretrain.PackInputs'),
]
train_dataloader = dict(dataset=dict(data_root=data_root, pipeline=pipeline))

model = dict(
    vocab_size=128,
    pixel_mean=(
        0.80,
        0.75,
        0.70,
    ),  # of the emoji's pixels, which lie in [0, 1]
    pixel_std=(0.30, 0.29, 0.34),
)

param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, end=20, by_epoch=False),
    dict(
        type='LinearLR',
        start_factor=1.0,
        end_factor=0.0,
        begin=max_epochs // 2,
        end=max_epochs,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(max_epochs=max_epochs)
default_hooks = dict(
    logger=dict(interval=95), checkpoint=dict(interval=max_epochs)
)
