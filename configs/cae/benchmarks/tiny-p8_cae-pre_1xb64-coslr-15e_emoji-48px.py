# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Fine-tuning of the tiny CAE on labeled emoji."""

_base_ = [
    '../../_base_/models/classifier_tiny-p8_emoji-48px.py',
    '../../_base_/datasets/emoji_cls_48.py',
    '../../_base_/schedules/tiny_finetune_30e.py',
    '../../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        out_type='avg_featmap', use_rel_pos_bias=True, drop_path_rate=0.0
    ),
    head=dict(
        type='mmpretrain.LinearClsHead',
        loss=dict(
            type='mmpretrain.LabelSmoothLoss',
            label_smooth_val=0.1,
            mode='original',
        ),
        init_cfg=dict(
            type='TruncNormal', layer='Linear', std=2e-5, a=-2e-3, b=2e-3
        ),
    ),
)

max_epochs, warmup_epochs = 15, 3
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-6,
        begin=0,
        end=warmup_epochs,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        eta_min_ratio=1.25e-4,
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
]
randomness = dict(seed=0)
