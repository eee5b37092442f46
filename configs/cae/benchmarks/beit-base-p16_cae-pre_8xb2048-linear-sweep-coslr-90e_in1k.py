# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
r"""Linear probing of CAE-base with several learning rates at once.

Each rate trains a classifier of its own by the authors' recipe, whose rate is
6.4. The rates hold for the whole batch of 16384 (see --auto-scale-lr).

    python tools/train.py CONFIG --cfg-options checkpoint=PATH \
        model.head.lrs="[1.6,3.2,6.4]"
"""

_base_ = './beit-base-p16_cae-pre_8xb2048-linear-coslr-90e_in1k.py'

model = dict(
    head=dict(
        type='mmcae.SweepLinearHead', lrs=[0.8, 1.6, 3.2, 6.4, 12.8, 25.6]
    )
)

# The optimizer has no `lr`: the constructor takes the rates of the head.
optim_wrapper = dict(
    constructor='mmcae.SweepOptimWrapperConstructor',
    optimizer=dict(
        _delete_=True,
        type='mmcae.LARS',
        momentum=0.9,
        weight_decay=0.0,
        trust_coefficient=0.001,
    ),
)

# `accuracy/top1` is that of the best rate, `lr0.8/top1` that of the rate 0.8.
val_evaluator = dict(_delete_=True, type='mmcae.SweepAccuracy', topk=(1, 5))
test_evaluator = val_evaluator

custom_hooks = [*_base_.custom_hooks, dict(type='mmcae.SweepAccuracyHook')]

default_hooks = dict(
    checkpoint=dict(save_best='accuracy/top1', rule='greater')
)
