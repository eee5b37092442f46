# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""mmpretrain's own CAE on scenes; see ``mmpretrain_cae_digits.py``."""

_base_ = './mmpretrain_cae_digits.py'

data_root = 'data/scenes/images/training'
tokenizer = 'work_dirs/dvae_f8-k128_1xb32-30e_scenes-48px/epoch_30.pth'
lr, max_epochs, warmup_epochs = 2e-3, 80, 3
image_size, vocab_size = 48, 128
grid = (image_size // 8, image_size // 8)
num_masked = round(grid[0] * grid[1] * 75 / 196)

train_pipeline = _base_.train_pipeline
train_pipeline[1].update(
    size=image_size,
    second_size=image_size,
    scale=(0.1, 0.35),
    ratio=(0.8, 1.25),
)
train_pipeline[2].update(
    input_size=grid, num_masking_patches=num_masked, min_num_patches=3
)
train_dataloader = dict(
    dataset=dict(data_root=data_root, pipeline=train_pipeline)
)

model = dict(
    backbone=dict(img_size=image_size),
    neck=dict(num_classes=vocab_size, mask_tokens_num=num_masked),
    target_generator=dict(
        vocab_size=vocab_size, init_cfg=dict(checkpoint=tokenizer)
    ),
)

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
    logger=dict(interval=32), checkpoint=dict(interval=max_epochs)
)
