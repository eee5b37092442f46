# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
r"""A CAE of digits on photographs for one CPU core.

It learns from 48 px crops of 1,024 unlabeled scenes. `benchmarks/transfer.py`
runs it.

    python tools/dataset_converters/tiny_ade.py data/scenes --train 1024 \
        --val 0 --seed 100
"""

_base_ = [
    '../_base_/models/cae_tiny-p8.py',
    '../_base_/datasets/digits_cae_32.py',
    '../_base_/schedules/tiny_cae_80e.py',
    '../_base_/default_runtime.py',
]

data_root = 'data/scenes/images/training'
tokenizer = 'work_dirs/dvae_f8-k128_1xb32-30e_scenes-48px/epoch_30.pth'
image_size, patch_size, vocab_size = 48, 8, 128
grid = (image_size // patch_size, image_size // patch_size)

train_pipeline = [
    dict(type='mmcae.LoadImage'),
    dict(
        type='mmcae.TwoViewRandomResizedCrop',
        size=image_size,
        second_size=image_size,
        second_interpolation='bicubic',
        # A crop has room for about one digit, which appears at half to one
        # and a half times its size in the scene.
        scale=(0.1, 0.35),
        ratio=(0.8, 1.25),
    ),
    dict(
        type='mmcae.BlockMaskGenerator',
        input_size=grid,
        num_masking_patches=grid[0] * grid[1] // 2,
        min_num_patches=3,
    ),
    dict(type='mmpretrain.PackInputs'),
]
train_dataloader = dict(
    dataset=dict(data_root=data_root, pipeline=train_pipeline)
)

model = dict(
    backbone=dict(img_size=image_size),
    neck=dict(num_classes=vocab_size),
    target_generator=dict(
        vocab_size=vocab_size, init_cfg=dict(checkpoint=tokenizer)
    ),
)

default_hooks = dict(
    logger=dict(interval=32),  # iterations, an epoch
    checkpoint=dict(interval=_base_.max_epochs, save_optimizer=False),
)
randomness = dict(seed=0)
