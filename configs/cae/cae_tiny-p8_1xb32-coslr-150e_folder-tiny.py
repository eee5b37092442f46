# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""A CAE of your own images for a laptop: 48 px, four blocks of width 96.

    python tools/train.py CONFIG --cfg-options data_root=PATH

Train the tokenizer first: dvae_f8-k128_1xb32-60e_folder-tiny. The numbers suit
a few hundred images; `mmcae pretrain FOLDER` writes a copy of this file whose
numbers suit the folder.
"""

_base_ = [
    '../_base_/models/cae_tiny-p8.py',
    '../_base_/default_runtime.py',
]

data_root = 'data/images'
list_file = ''  # a file that names the images, one a line; '' for all
max_unreadable = 0.01  # of the images
tokenizer = 'work_dirs/dvae_f8-k128_1xb32-60e_folder-tiny/epoch_60.pth'
channels = 3  # of the images, 1 to 16
# The values that become 0 and 255; None for 8 bits.
value_range = None
image_size = 48
patch_size = 8
vocab_size = 128
width = 96
num_heads = 3
# The pixels' mean and standard deviation by channel, from 0 to 255.
mean = [115.0, 110.0, 102.0]
std = [71.0, 69.0, 71.0]
crop_scale = (0.2, 1.0)  # area of a crop, as a share of the image
flip_prob = 0.5
num_workers = 0
cache = True  # decode all images once and keep them in memory
cache_side = 136  # short side in memory; larger images are reduced
batch_size = 32
lr = 1.5e-3  # for a batch of 32; changes in proportion to the batch
max_epochs = 150
warmup_epochs = 8
checkpoint_interval = 30  # epochs
# The tokenizer takes the second view with pixels in [0, 1].
target_generator = dict(
    type='mmcae.DVAE',
    vocab_size=vocab_size,
    in_channels=channels,
    downsample=8,
    overlap=False,
    init_cfg=dict(type='Pretrained', checkpoint=tokenizer),
)
second_mean = [0.0, 0.0, 0.0]
second_std = [255.0, 255.0, 255.0]

grid = (image_size // patch_size, image_size // patch_size)

train_pipeline = [
    dict(type='mmcae.LoadImage', channels=channels, value_range=value_range),
    dict(type='mmcae.RandomFlip', prob=flip_prob),
    dict(
        type='mmcae.TwoViewRandomResizedCrop',
        size=image_size,
        second_size=8 * grid[0],  # a token stands for 8 x 8 pixels
        scale=crop_scale,
        second_interpolation='bicubic',
        backend='fast',
    ),
    dict(
        type='mmcae.BlockMaskGenerator',
        input_size=grid,
        num_masking_patches=grid[0] * grid[1] // 2,
        min_num_patches=max(2, grid[0] * grid[1] // 12),
    ),
    dict(type='mmpretrain.PackInputs'),
]

train_dataloader = dict(
    batch_size=batch_size,
    num_workers=num_workers,
    drop_last=True,
    sampler=dict(type='mmcae.SeededSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='mmcae.FolderDataset',
        data_root=data_root,
        list_file=list_file,
        max_unreadable=max_unreadable,
        cache=cache,
        cache_side=cache_side,
        pipeline=train_pipeline,
    ),
)

model = dict(
    data_preprocessor=dict(
        mean=mean, std=std, second_mean=second_mean, second_std=second_std
    ),
    backbone=dict(
        arch=dict(
            embed_dims=width,
            num_heads=num_heads,
            feedforward_channels=4 * width,
        ),
        img_size=image_size,
        in_channels=channels,
        patch_size=patch_size,
    ),
    neck=dict(num_classes=vocab_size, embed_dims=width, num_heads=num_heads),
    target_generator=dict(_delete_=True, **target_generator),
)

optim_wrapper = dict(
    type='mmcae.OptimWrapper',
    constructor='mmcae.MergedOptimWrapperConstructor',
    optimizer=dict(
        type='AdamW', lr=lr, betas=(0.9, 0.999), weight_decay=0.05, fused=True
    ),
    clip_grad=dict(max_norm=3.0),
    paramwise_cfg=dict(
        norm_decay_mult=0.0, bias_decay_mult=0.0, flat_decay_mult=0.0
    ),
)
auto_scale_lr = dict(base_batch_size=32)

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

train_cfg = dict(type='mmcae.EpochBasedTrainLoop', max_epochs=max_epochs)
default_hooks = dict(
    checkpoint=dict(interval=checkpoint_interval, max_keep_ckpts=1)
)
randomness = dict(seed=0)
