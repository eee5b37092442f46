# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""A CAE-small of your own images for one GPU of 8 to 12 GB.

    python tools/train.py CONFIG --cfg-options data_root=PATH

Train the tokenizer first: dvae_f8-k1024_1xb64-200e_folder-small. The recipe is
the authors' for ImageNet, with a total batch of 256 and the learning rate in
proportion. The numbers suit some thousand images; `mmcae pretrain FOLDER`
writes a copy of this file whose numbers suit the folder.
"""

_base_ = [
    '../_base_/models/cae_beit-base-p16.py',
    '../_base_/default_runtime.py',
]

data_root = 'data/images'
list_file = ''  # a file that names the images, one a line; '' for all
max_unreadable = 0.01  # of the images
tokenizer = 'work_dirs/dvae_f8-k1024_1xb64-200e_folder-small/epoch_200.pth'
channels = 3  # of the images, 1 to 16
# The values that become 0 and 255; None for 8 bits.
value_range = None
image_size = 224
patch_size = 16
vocab_size = 1024
arch = 'small'
width = 384
num_heads = 12
weight_init = 'xavier'
layer_scale = 0.1
# The pixels' mean and standard deviation by channel, from 0 to 255.
mean = [123.675, 116.28, 103.53]
std = [58.395, 57.12, 57.375]
crop_scale = (0.08, 1.0)  # area of a crop, as a share of the image
flip_prob = 0.5
num_workers = 8
cache = False  # decode all images once and keep them in memory
cache_side = 632  # short side in memory; larger images are reduced
batch_size = 128
accumulation = 2  # batches before a step of the optimizer
lr = 1.9e-4  # 1.5e-3 x 256 / 2048
max_epochs = 300
warmup_epochs = 10
checkpoint_interval = 10  # epochs
precision = None  # None: float16 on a GPU, bfloat16 on a CPU
# The tokenizer takes the second view with pixels in [0, 1].
target_generator = dict(
    type='mmcae.DVAE',
    vocab_size=vocab_size,
    in_channels=channels,
    downsample=8,
    hidden_channels=(64, 128, 256),
    num_res_blocks=2,
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
        second_interpolation='lanczos',
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
        type='mmcae.CAEDataPreprocessor',
        mean=mean,
        std=std,
        second_mean=second_mean,
        second_std=second_std,
        to_rgb=True,
    ),
    backbone=dict(
        arch=arch,
        img_size=image_size,
        in_channels=channels,
        patch_size=patch_size,
        layer_scale_init_value=layer_scale,
        weight_init=weight_init,
    ),
    neck=dict(
        num_classes=vocab_size,
        embed_dims=width,
        num_heads=num_heads,
        layer_scale_init_value=layer_scale,
        weight_init=weight_init,
    ),
    target_generator=dict(_delete_=True, **target_generator),
)

optim_wrapper = dict(
    type='mmcae.AmpOptimWrapper',
    dtype=precision,
    constructor='mmcae.MergedOptimWrapperConstructor',
    optimizer=dict(
        type='AdamW', lr=lr, betas=(0.9, 0.999), weight_decay=0.05, fused=True
    ),
    accumulative_counts=accumulation,
    clip_grad=dict(max_norm=3.0),
    paramwise_cfg=dict(
        norm_decay_mult=0.0, bias_decay_mult=0.0, flat_decay_mult=0.0
    ),
)
# mmengine compares this with the batch of one iteration, before accumulation.
auto_scale_lr = dict(base_batch_size=128)

param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-6,
        end=warmup_epochs,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        eta_min=lr / 150,  # as the authors: 1e-5 for a peak of 1.5e-3
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
