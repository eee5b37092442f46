# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Attentive probing of the tiny CAE on labeled digits."""

_base_ = [
    '../../_base_/models/classifier_tiny-p8_digits-32px.py',
    '../../_base_/datasets/digits_cls_32.py',
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
        num_heads=2,
        loss=dict(type='mmpretrain.CrossEntropyLoss', loss_weight=1.0),
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
