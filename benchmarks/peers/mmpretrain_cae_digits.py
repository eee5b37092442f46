# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""mmpretrain's own CAE at the size of our tiny one.

What mmpretrain's config sets is kept, scaled to the grid: the share of masked
patches (75 of 196), the alignment weight 2, the warm-up from 1e-4 of the
learning rate, the final rate of 1/150 of it, and mmpretrain's mask generator,
resizing and classes. Learning rate, batch size, epochs and tokenizer are those
of our config.
"""

_base_ = 'mmpretrain::_base_/default_runtime.py'

data_root = 'data/digits/train'
tokenizer = 'work_dirs/dvae_f8-k64_1xb32-13e_digits-32px/epoch_13.pth'
batch_size, lr, max_epochs, warmup_epochs = 32, 2e-3, 80, 3
image_size, width, num_heads, vocab_size = 32, 64, 2, 64
grid = (image_size // 8, image_size // 8)
num_masked = round(grid[0] * grid[1] * 75 / 196)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='RandomResizedCropAndInterpolationWithTwoPic',
        size=image_size,
        second_size=image_size,
        interpolation='bicubic',
        second_interpolation='bicubic',
        scale=(1.0, 1.0),
        ratio=(1.0, 1.0),
    ),
    dict(
        type='BEiTMaskGenerator',
        input_size=grid,
        num_masking_patches=num_masked,
        min_num_patches=2,
    ),
    dict(type='PackInputs'),
]

train_dataloader = dict(
    batch_size=batch_size,
    num_workers=0,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='CustomDataset',
        data_root=data_root,
        with_label=False,
        pipeline=train_pipeline,
    ),
)

model = dict(
    type='CAE',
    data_preprocessor=dict(
        type='TwoNormDataPreprocessor',
        mean=[76.5] * 3,
        std=[89.25] * 3,
        second_mean=[0.0] * 3,
        second_std=[255.0] * 3,
        to_rgb=True,
    ),
    backbone=dict(
        type='CAEPretrainViT',
        arch=dict(
            embed_dims=width,
            num_layers=4,
            num_heads=num_heads,
            feedforward_channels=4 * width,
        ),
        img_size=image_size,
        patch_size=8,
        layer_scale_init_value=0.1,
        bias='qv_bias',
    ),
    neck=dict(
        type='CAENeck',
        num_classes=vocab_size,
        embed_dims=width,
        num_heads=num_heads,
        regressor_depth=1,
        decoder_depth=1,
        mlp_ratio=4,
        layer_scale_init_value=0.1,
        mask_tokens_num=num_masked,
    ),
    head=dict(type='CAEHead', loss=dict(type='CAELoss', lambd=2)),
    target_generator=dict(
        type='mmcae.DVAE',
        vocab_size=vocab_size,
        downsample=8,
        overlap=False,
        init_cfg=dict(type='Pretrained', checkpoint=tokenizer),
    ),
    base_momentum=0.0,
)

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=lr, betas=(0.9, 0.999), weight_decay=0.05),
    clip_grad=dict(max_norm=3.0),
    paramwise_cfg=dict(
        bias_decay_mult=0.0, norm_decay_mult=0.0, flat_decay_mult=0.0
    ),
)

param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-4,
        end=warmup_epochs,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        eta_min=lr / 150,
        begin=warmup_epochs,
        end=max_epochs,
        T_max=max_epochs - warmup_epochs,
        convert_to_iter_based=True,
    ),
]

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs)
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=43),
    checkpoint=dict(
        type='CheckpointHook', interval=max_epochs, save_optimizer=False
    ),
)
randomness = dict(seed=0)
find_unused_parameters = True
