# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
r"""A tokenizer for 48 px crops of digits on photographs: 128 codes.

    python tools/dataset_converters/tiny_ade.py data/scenes \
        --train 1024 --val 0 --seed 100
    python tools/train.py CONFIG
"""

_base_ = './dvae_f8-k64_1xb32-13e_digits-32px.py'

data_root = 'data/scenes/images/training'
max_epochs = 30  # of 32 iterations

pipeline = [
    dict(type='mmcae.LoadImage'),
    dict(
        type='mmcae.RandomResizedCrop',
        size=48,
        scale=(0.1, 0.35),
        ratio=(0.8, 1.25),
        interpolation='bicubic',
    ),
    dict(type='mmpretrain.PackInputs'),
]
train_dataloader = dict(dataset=dict(data_root=data_root, pipeline=pipeline))

model = dict(
    vocab_size=128,
    pixel_mean=(
        0.46,
        0.44,
        0.39,
    ),  # of the scenes' pixels, which lie in [0, 1]
    pixel_std=(0.34, 0.27, 0.29),
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
    logger=dict(interval=32), checkpoint=dict(interval=max_epochs)
)
