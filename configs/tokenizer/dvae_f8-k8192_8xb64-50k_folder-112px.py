# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""A tokenizer of your own images at 112 px: 8192 codes, as DALL-E's.

It is meant for images unlike photographs, and where DALL-E's weights cannot be
used. Images below `data_root` are found at any depth; labels are not used.

    bash tools/dist_train.sh CONFIG 8 --cfg-options data_root=PATH

Then pretrain with cae_beit-base-p16_1xb256-accum8-amp-coslr-300e_folder-dvae,
which shows what another CAE config needs for these tokens.

In the log, `codes_used` and `perplexity` (of a batch) should rise to a good
part of `vocab_size`, and `psnr` should rise with them. Few or plain images
cannot fill 8192 codes: take fewer (`vocab_size=1024`). If few codes are used,
raise `kl_weight`. If pictures stay blurred although many are used, lower it.
"""

_base_ = '../_base_/default_runtime.py'

data_root = 'data/images'
image_size, downsample, vocab_size = 112, 8, 8192
batch_size, lr, max_iters = (
    64,
    1e-3,
    50000,
)  # the batch is that of one GPU of 8

pipeline = [
    dict(type='mmcae.LoadImage'),
    # Scale and filter are those of the second view in pretraining.
    dict(
        type='mmcae.RandomResizedCrop',
        size=image_size,
        scale=(0.08, 1.0),
        interpolation='lanczos',
    ),
    dict(type='mmcae.RandomFlip', prob=0.5),
    dict(type='mmpretrain.PackInputs'),
]

train_dataloader = dict(
    batch_size=batch_size,
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    sampler=dict(type='mmcae.SeededInfiniteSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='mmcae.FolderDataset', data_root=data_root, pipeline=pipeline
    ),
)

model = dict(
    type='mmcae.DVAE',
    vocab_size=vocab_size,
    downsample=downsample,
    hidden_channels=(64, 128, 256),
    num_res_blocks=2,
    pixel_mean=(0.485, 0.456, 0.406),
    pixel_std=(0.229, 0.224, 0.225),
    kl_weight=0.01,
    temperature_start=1.0,
    temperature_end=0.2,
    data_preprocessor=dict(
        type='mmpretrain.SelfSupDataPreprocessor',
        mean=[0.0] * 3,
        std=[255.0] * 3,
        to_rgb=True,
    ),
)

optim_wrapper = dict(
    type='mmcae.OptimWrapper',
    optimizer=dict(type='AdamW', lr=lr, weight_decay=0.01, fused=True),
    clip_grad=dict(max_norm=1.0),
)

auto_scale_lr = dict(base_batch_size=512)

param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, end=1000, by_epoch=False),
    dict(
        type='LinearLR',
        start_factor=1.0,
        end_factor=0.0,
        begin=int(0.6 * max_iters),
        end=max_iters,
        by_epoch=False,
    ),
]

train_cfg = dict(
    type='mmcae.IterBasedTrainLoop',
    max_iters=max_iters,
    val_interval=max_iters,
)
custom_hooks = [
    dict(type='mmcae.TemperatureHook'),
    dict(type='mmcae.DataHealthHook'),
]
default_hooks = dict(
    checkpoint=dict(type='mmcae.CheckpointHook', by_epoch=False, interval=5000)
)
log_processor = dict(by_epoch=False)
randomness = dict(seed=0)
