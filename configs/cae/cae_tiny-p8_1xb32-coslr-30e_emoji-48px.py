# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""A CAE of emoji for one CPU core: 3,050 colored drawings at 48 px.

python tools/dataset_converters/emoji.py data/emoji PACKAGES
"""

_base_ = [
    '../_base_/models/cae_tiny-p8.py',
    '../_base_/datasets/digits_cae_32.py',
    '../_base_/schedules/tiny_cae_80e.py',
    '../_base_/default_runtime.py',
]

data_root = 'data/emoji/train'
tokenizer = 'work_dirs/dvae_f8-k128_1xb32-8e_emoji-48px/epoch_8.pth'
lr, max_epochs, warmup_epochs = 1.5e-3, 30, 2
image_size, patch_size, width, vocab_size = 48, 8, 96, 128
grid = (image_size // patch_size, image_size // patch_size)

train_pipeline = [
    dict(type='mmcae.LoadImage'),
    dict(type='mmcae.RandomFlip', prob=0.5),
    dict(
        type='mmcae.TwoViewResize',
        size=image_size,
        second_size=image_size,
        second_interpolation='bicubic',
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
    data_preprocessor=dict(mean=[204.0, 191.3, 178.5], std=[76.5, 74.0, 86.7]),
    backbone=dict(
        arch=dict(
            embed_dims=width, num_heads=3, feedforward_channels=4 * width
        ),
        img_size=image_size,
    ),
    neck=dict(num_classes=vocab_size, embed_dims=width, num_heads=3),
    target_generator=dict(
        vocab_size=vocab_size, init_cfg=dict(checkpoint=tokenizer)
    ),
)

optim_wrapper = dict(optimizer=dict(lr=lr))
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-6,
        end=warmup_epochs,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        eta_min=0.0,
        begin=warmup_epochs,
        end=max_epochs,
        T_max=max_epochs - warmup_epochs,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(max_epochs=max_epochs)
default_hooks = dict(
    logger=dict(interval=95),  # iterations, an epoch
    checkpoint=dict(interval=max_epochs, save_optimizer=False),
)
randomness = dict(seed=0)
