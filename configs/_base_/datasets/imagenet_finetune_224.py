# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""ImageNet-1K for fine-tuning at 224 px.

The authors augment with timm, on PIL images. RandAugment and random erasing
here are mmpretrain's, which differ in details:

- OpenCV transforms the pixels.
- Erased pixels are drawn before the normalization, so they are rounded and
  clipped to 0..255.
- Mixup and CutMix pair a batch with a random permutation of itself. timm pairs
  it with its reverse.
"""

data_root = 'data/imagenet/'

# ImageNet's mean and deviation, as in pretraining.
data_preprocessor = dict(
    type='mmpretrain.ClsDataPreprocessor',
    num_classes=1000,
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
)
# Images are BGR until the data preprocessor converts them.
bgr_mean = data_preprocessor['mean'][::-1]
bgr_std = data_preprocessor['std'][::-1]

train_pipeline = [
    dict(type='mmcae.LoadImage'),
    dict(
        type='mmcae.RandomResizedCrop',
        size=224,
        scale=(0.08, 1.0),
        interpolation='bicubic',
    ),
    dict(type='mmcae.RandomFlip', prob=0.5),
    # These two draw from NumPy's global generator. `Seeded` seeds it from (run
    # seed, epoch, index), so that the draws do not depend on the worker.
    dict(
        type='mmcae.Seeded',
        transforms=[
            # timm's rand-m9-mstd0.5-inc1: two operations, each applied with
            # probability 0.5.
            dict(
                type='mmpretrain.RandAugment',
                policies='timm_increasing',
                num_policies=2,
                total_level=10,
                magnitude_level=9,
                magnitude_std=0.5,
                hparams=dict(
                    pad_val=[round(x) for x in bgr_mean],
                    interpolation='bicubic',
                ),
            ),
            dict(
                type='mmpretrain.RandomErasing',
                erase_prob=0.25,
                mode='rand',
                min_area_ratio=0.02,
                max_area_ratio=1 / 3,
                aspect_range=(3 / 10, 10 / 3),
                fill_color=bgr_mean,
                fill_std=bgr_std,
            ),
        ],
    ),
    dict(type='mmpretrain.PackInputs'),
]

test_pipeline = [
    dict(type='mmcae.LoadImage'),
    dict(
        type='mmpretrain.ResizeEdge',
        scale=256,
        edge='short',
        backend='pillow',
        interpolation='bicubic',
    ),
    dict(type='mmpretrain.CenterCrop', crop_size=224),
    dict(type='mmpretrain.PackInputs'),
]

train_dataloader = dict(
    batch_size=128,
    num_workers=8,
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

val_dataloader = dict(
    batch_size=192,
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='mmcae.ImageNet',
        data_root=data_root,
        split='val',
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
val_evaluator = dict(type='mmpretrain.Accuracy', topk=(1, 5))

test_dataloader = val_dataloader
test_evaluator = val_evaluator
