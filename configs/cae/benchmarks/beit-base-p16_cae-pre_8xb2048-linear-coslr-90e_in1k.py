# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Linear probing of CAE-base on ImageNet-1K: the authors' recipe.

They report 64.5 % with their encoder of 300 epochs.

8 GPUs x 2048 images are a batch of 16384, and 78 steps an epoch. With less
memory, accumulate: `train_dataloader.batch_size=512
optim_wrapper.accumulative_counts=4`.
"""

_base_ = [
    '../../_base_/datasets/imagenet_probe_224.py',
    '../../_base_/schedules/linear_90e.py',
    '../../_base_/default_runtime.py',
]

# --cfg-options checkpoint=PATH names another encoder (README.md).
checkpoint = (
    'work_dirs/cae_beit-base-p16_8xb256-amp-coslr-300e_in1k/epoch_300.pth'
)

train_pipeline = [
    dict(type='mmcae.LoadImage'),
    dict(
        type='mmcae.RandomResizedCrop',
        size=224,
        scale=(0.08, 1.0),
        ratio=(3 / 4, 4 / 3),
        interpolation='bicubic',
        # As in the authors' code, a crop is drawn once and cut to the image.
        clip=True,
    ),
    dict(type='mmcae.RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='mmpretrain.PackInputs'),
]
batch_size = 2048
train_dataloader = dict(
    batch_size=batch_size, dataset=dict(pipeline=train_pipeline)
)

model = dict(
    type='mmpretrain.ImageClassifier',
    backbone=dict(
        type='mmcae.CAEViT',
        arch='base',
        img_size=224,
        patch_size=16,
        out_type='cls_token',
        final_norm=True,
        use_rel_pos_bias=False,
        drop_path_rate=0.0,
        layer_scale_init_value=0.1,
        weight_init='xavier',
        frozen_stages=12,  # all blocks, with patch embedding and final norm
        init_cfg=dict(
            type='Pretrained', checkpoint=checkpoint, prefix='backbone.'
        ),
    ),
    # BatchNorm without learned parameters; each GPU has its own statistics.
    neck=dict(
        type='mmpretrain.ClsBatchNormNeck', input_features=768, eps=1e-6
    ),
    head=dict(
        type='mmpretrain.LinearClsHead',
        num_classes=1000,
        in_channels=768,
        loss=dict(type='mmpretrain.CrossEntropyLoss', loss_weight=1.0),
        # mmengine's `trunc_normal_` clamps to the limits `a` and `b`, and a
        # rare draw is infinite before. Ten deviations keep it harmless.
        init_cfg=dict(
            type='TruncNormal', layer='Linear', std=0.01, a=-0.1, b=0.1
        ),
    ),
)

custom_hooks = [
    # Each GPU trains with the statistics of its own batch. After an epoch the
    # running statistics are averaged, so that all GPUs evaluate and save the
    # same model.
    dict(type='SyncBuffersHook'),
    dict(type='mmcae.DataHealthHook'),
    dict(type='mmcae.ProbeSummaryHook'),
]

randomness = dict(seed=0, diff_rank_seed=True)
