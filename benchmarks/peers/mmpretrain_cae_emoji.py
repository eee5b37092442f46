# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""mmpretrain's own CAE on emoji; see ``mmpretrain_cae_digits.py``."""

_base_ = './mmpretrain_cae_digits.py'

data_root = 'data/emoji/train'
tokenizer = 'work_dirs/dvae_f8-k128_1xb32-8e_emoji-48px/epoch_8.pth'
lr, max_epochs, warmup_epochs = 1.5e-3, 30, 2
image_size, width, num_heads, vocab_size = 48, 96, 3, 128
grid = (image_size // 8, image_size // 8)
num_masked = round(grid[0] * grid[1] * 75 / 196)

train_pipeline = _base_.train_pipeline
train_pipeline.insert(1, dict(type='RandomFlip', prob=0.5))
train_pipeline[2].update(size=image_size, second_size=image_size)
train_pipeline[3].update(
    input_size=grid, num_masking_patches=num_masked, min_num_patches=3
)
train_dataloader = dict(
    dataset=dict(data_root=data_root, pipeline=train_pipeline)
)

model = dict(
    data_preprocessor=dict(mean=[204.0, 191.3, 178.5], std=[76.5, 74.0, 86.7]),
    backbone=dict(
        arch=dict(
            embed_dims=width,
            num_heads=num_heads,
            feedforward_channels=4 * width,
        ),
        img_size=image_size,
    ),
    neck=dict(
        num_classes=vocab_size,
        embed_dims=width,
        num_heads=num_heads,
        mask_tokens_num=num_masked,
    ),
    target_generator=dict(
        vocab_size=vocab_size, init_cfg=dict(checkpoint=tokenizer)
    ),
)

optim_wrapper = dict(optimizer=dict(lr=lr))
param_scheduler = _base_.param_scheduler
param_scheduler[0].update(end=warmup_epochs)
param_scheduler[1].update(
    eta_min=lr / 150,
    begin=warmup_epochs,
    end=max_epochs,
    T_max=max_epochs - warmup_epochs,
)
train_cfg = dict(max_epochs=max_epochs)
default_hooks = dict(
    logger=dict(interval=95), checkpoint=dict(interval=max_epochs)
)
