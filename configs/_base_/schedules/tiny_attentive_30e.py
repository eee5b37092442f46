# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Attentive probing of tiny encoders: 30 epochs in float32.

Optimizer and shape of the schedule are those of the large sizes. Learning rate
and length suit a few thousand images.
"""

max_epochs, warmup_epochs = 30, 3

optim_wrapper = dict(
    type='mmcae.OptimWrapper',
    constructor='mmcae.MergedOptimWrapperConstructor',
    optimizer=dict(
        type='SGD',
        lr=0.1,
        momentum=0.9,
        nesterov=True,
        weight_decay=0.0,
    ),
)
auto_scale_lr = dict(base_batch_size=64)

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

train_cfg = dict(
    type='mmcae.EpochBasedTrainLoop',
    max_epochs=max_epochs,
    val_interval=max_epochs,
)
val_cfg = dict()
test_cfg = dict()
