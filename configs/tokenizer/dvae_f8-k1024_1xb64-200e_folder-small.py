# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""A tokenizer of your own images for one GPU of 8 to 12 GB: 1024 codes.

    python tools/train.py CONFIG --cfg-options data_root=PATH

Then pretrain with cae_beit-small-p16_1xb128-accum2-amp-coslr-300e_folder-small.
The numbers suit some thousand images; `mmcae pretrain FOLDER` writes a copy of
this file whose numbers suit the folder.
"""

_base_ = '../_base_/default_runtime.py'

data_root = 'data/images'
list_file = ''  # a file that names the images, one a line; '' for all
max_unreadable = 0.01  # of the images
channels = 3  # of the images, 1 to 16
# The values that become 0 and 255; None for 8 bits.
value_range = None
image_size = 112
vocab_size = 1024
# The pixels' mean and standard deviation by channel; pixels lie in [0, 1].
pixel_mean = (0.485, 0.456, 0.406)
pixel_std = (0.229, 0.224, 0.225)
crop_scale = (0.08, 1.0)  # area of a crop, as a share of the image
flip_prob = 0.5
num_workers = 8
cache = False  # decode all images once and keep them in memory
cache_side = 632  # short side in memory; larger images are reduced
batch_size = 64
lr = 1e-3
max_epochs = 200
checkpoint_interval = 20  # epochs

pipeline = [
    dict(type='mmcae.LoadImage', channels=channels, value_range=value_range),
    dict(type='mmcae.RandomFlip', prob=flip_prob),
    # Scale and filter are those of the second view in pretraining.
    dict(
        type='mmcae.RandomResizedCrop',
        size=image_size,
        scale=crop_scale,
        interpolation='lanczos',
        backend='fast',
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
        pipeline=pipeline,
    ),
)

model = dict(
    type='mmcae.DVAE',
    vocab_size=vocab_size,
    in_channels=channels,
    downsample=8,
    hidden_channels=(64, 128, 256),
    num_res_blocks=2,
    he_init=True,
    pixel_mean=pixel_mean,
    pixel_std=pixel_std,
    kl_weight=0.01,
    temperature_start=1.0,
    temperature_end=0.2,
    data_preprocessor=dict(
        type='mmpretrain.SelfSupDataPreprocessor',
        mean=[0.0],
        std=[255.0],
        to_rgb=channels == 3,
    ),
)

optim_wrapper = dict(
    type='mmcae.OptimWrapper',
    optimizer=dict(type='AdamW', lr=lr, weight_decay=0.01, fused=True),
    clip_grad=dict(max_norm=1.0),
)
auto_scale_lr = dict(base_batch_size=64)

param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, end=200, by_epoch=False),
    dict(
        type='LinearLR',
        start_factor=1.0,
        end_factor=0.0,
        begin=max_epochs // 2,
        end=max_epochs,
        convert_to_iter_based=True,
    ),
]

train_cfg = dict(type='mmcae.EpochBasedTrainLoop', max_epochs=max_epochs)
custom_hooks = [
    dict(type='mmcae.TemperatureHook'),
    dict(type='mmcae.DataHealthHook'),
]
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=50),
    checkpoint=dict(
        type='mmcae.CheckpointHook',
        interval=checkpoint_interval,
        max_keep_ckpts=1,
    ),
)
randomness = dict(seed=0)
