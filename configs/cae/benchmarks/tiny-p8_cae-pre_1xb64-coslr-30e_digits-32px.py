# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Fine-tuning of the tiny CAE on labeled digits."""

_base_ = [
    '../../_base_/models/classifier_tiny-p8_digits-32px.py',
    '../../_base_/datasets/digits_cls_32.py',
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

default_hooks = dict(
    logger=dict(interval=21),
    checkpoint=dict(interval=_base_.max_epochs, save_optimizer=False),
)
custom_hooks = [
    dict(type='mmcae.DataHealthHook'),
]
randomness = dict(seed=0)
