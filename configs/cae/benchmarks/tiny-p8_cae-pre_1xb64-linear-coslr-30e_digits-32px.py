# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Linear probing of the tiny CAE on labeled digits."""

_base_ = [
    '../../_base_/models/classifier_tiny-p8_digits-32px.py',
    '../../_base_/datasets/digits_cls_32.py',
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
    neck=dict(type='mmpretrain.ClsBatchNormNeck', input_features=64, eps=1e-6),
    head=dict(
        type='mmpretrain.LinearClsHead',
        loss=dict(type='mmpretrain.CrossEntropyLoss', loss_weight=1.0),
        init_cfg=dict(
            type='TruncNormal', layer='Linear', std=0.01, a=-0.1, b=0.1
        ),
    ),
)

default_hooks = dict(
    logger=dict(interval=21),
    checkpoint=dict(interval=_base_.max_epochs, save_optimizer=False),
)
custom_hooks = [
    dict(type='mmcae.DataHealthHook'),
    dict(type='mmcae.ProbeSummaryHook'),
]
randomness = dict(seed=0)
