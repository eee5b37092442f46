# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""A tokenizer that a CPU trains in about twenty seconds: 64 codes.

The images are the 8x8 digits that ship with scikit-learn, at 32 px.

    python tools/dataset_converters/digits.py data/digits
    python tools/train.py CONFIG
"""

_base_ = '../_base_/default_runtime.py'

data_root = 'data/digits/train'
image_size, downsample, vocab_size = 32, 8, 64
batch_size, lr, max_epochs = 32, 5e-3, 13  # epochs of 43 iterations

pipeline = [
    dict(type='mmcae.LoadImage'),
    # The whole image, resized as in the pretraining config.
    dict(
        type='mmcae.RandomResizedCrop',
        size=image_size,
        scale=(1.0, 1.0),
        ratio=(1.0, 1.0),
        interpolation='bicubic',
    ),
    dict(type='mmpretrain.PackInputs'),
]

train_dataloader = dict(
    batch_size=batch_size,
    num_workers=0,
    drop_last=True,
    sampler=dict(type='mmcae.SeededSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='mmcae.FolderDataset',
        data_root=data_root,
        cache=True,
        pipeline=pipeline,
    ),
)

model = dict(
    type='mmcae.DVAE',
    vocab_size=vocab_size,
    downsample=downsample,
    overlap=False,  # a token depends on its own patch only
    pixel_mean=0.3,  # of the digits' pixels, which lie in [0, 1]
    pixel_std=0.35,
    # Higher weights bring more codes into use, and coarser pictures.
    kl_weight=0.02,  # for the distribution of codes at each position
    usage_weight=0.02,  # for the mean distribution of a batch
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
    optimizer=dict(type='AdamW', lr=lr, weight_decay=0.01),
)

# Lowering the rate over the second half of the training gains about 1 dB.
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

train_cfg = dict(type='mmcae.EpochBasedTrainLoop', max_epochs=max_epochs)
custom_hooks = [
    dict(type='mmcae.TemperatureHook'),
    dict(type='mmcae.DataHealthHook'),
]
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=43),  # iterations, an epoch
    checkpoint=dict(
        type='mmcae.CheckpointHook', interval=max_epochs, save_optimizer=False
    ),
)
randomness = dict(seed=0)
