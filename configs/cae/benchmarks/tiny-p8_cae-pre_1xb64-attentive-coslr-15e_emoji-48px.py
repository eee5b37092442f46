# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Attentive probing of the tiny CAE on labeled emoji."""

_base_ = [
    '../../_base_/models/classifier_tiny-p8_emoji-48px.py',
    '../../_base_/datasets/emoji_cls_48.py',
    '../../_base_/schedules/tiny_attentive_30e.py',
    '../../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        out_type='raw',
        final_norm=True,
        use_rel_pos_bias=False,
        frozen_stages=4,
    ),
    head=dict(
        type='mmcae.AttentiveProbeHead',
        num_heads=3,
        loss=dict(type='mmpretrain.CrossEntropyLoss', loss_weight=1.0),
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
        eta_min=1e-6,
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
