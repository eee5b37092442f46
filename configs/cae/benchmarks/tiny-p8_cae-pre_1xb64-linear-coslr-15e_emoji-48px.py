# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Linear probing of the tiny CAE on labeled emoji."""

_base_ = [
    '../../_base_/models/classifier_tiny-p8_emoji-48px.py',
    '../../_base_/datasets/emoji_cls_48.py',
    '../../_base_/schedules/tiny_linear_30e.py',
    '../../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        out_type='cls_token',
        final_norm=True,
        use_rel_pos_bias=False,
        frozen_stages=4,
    ),
    neck=dict(type='mmpretrain.ClsBatchNormNeck', input_features=96, eps=1e-6),
    head=dict(
        type='mmpretrain.LinearClsHead',
        loss=dict(type='mmpretrain.CrossEntropyLoss', loss_weight=1.0),
        init_cfg=dict(
            type='TruncNormal', layer='Linear', std=0.01, a=-0.1, b=0.1
        ),
    ),
)

max_epochs, warmup_epochs = 15, 3
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
param_scheduler = [
    dict(
        type='mmcae.FullWarmupLR',
        start_factor=1e-6,
        begin=0,
        end=warmup_epochs,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        eta_min=0.0,
        begin=warmup_epochs,
        end=max_epochs,
        T_max=max_epochs - warmup_epochs,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
default_hooks = dict(
    logger=dict(interval=47),
    checkpoint=dict(interval=max_epochs, save_optimizer=False),
)
custom_hooks = [
    dict(type='mmcae.DataHealthHook'),
    dict(type='mmcae.ProbeSummaryHook'),
]
randomness = dict(seed=0)
