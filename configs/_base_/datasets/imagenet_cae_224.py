# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""ImageNet for CAE: 224 px for the encoder, 112 px for the tokenizer.

Eight processes make the authors' batch of 2048 and 625 steps an epoch.
"""

data_root = 'data/imagenet/'
batch_size = 256  # per process
num_workers = 8  # per process

train_pipeline = [
    dict(type='mmcae.LoadImage'),
    dict(type='mmcae.RandomFlip', prob=0.5),
    dict(
        type='mmcae.TwoViewRandomResizedCrop',
        size=224,
        second_size=112,
        scale=(0.08, 1.0),
        interpolation='bicubic',
        second_interpolation='lanczos',
        backend='fast',  # or 'pil', see docs/data.md
    ),
    dict(
        type='mmcae.BlockMaskGenerator',
        input_size=(14, 14),
        num_masking_patches=98,
        min_num_patches=16,
    ),
    dict(type='mmpretrain.PackInputs'),
]

train_dataloader = dict(
    batch_size=batch_size,
    num_workers=num_workers,
    # Each worker keeps two batches of 48 MB ready in shared memory (PyTorch's
    # default prefetch_factor=2).
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    sampler=dict(type='mmcae.SeededSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='mmcae.ImageNet',
        data_root=data_root,
        split='train',
        pipeline=train_pipeline,
    ),
)

# The first view is normalized by ImageNet's mean and deviation. The second is
# mapped to 0.8 * x / 255 + 0.1, which is what DALL-E's tokenizer reads.
data_preprocessor = dict(
    type='mmcae.CAEDataPreprocessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    second_mean=[-31.875, -31.875, -31.875],
    second_std=[318.75, 318.75, 318.75],
    to_rgb=True,
)
