# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Fine-tuning of tiny encoders: 30 epochs in float32.

The layer decay is milder than for CAE-base: there are four blocks only.
"""

max_epochs, warmup_epochs = 30, 3

optim_wrapper = dict(
    type='mmcae.OptimWrapper',
    constructor='mmcae.LayerDecayOptimWrapperConstructor',
    optimizer=dict(
        type='AdamW',
        lr=2e-3,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=0.05,
    ),
    paramwise_cfg=dict(
        layer_decay_rate=0.75,
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        flat_decay_mult=0.0,
        custom_keys={
            '.cls_token': dict(decay_mult=0.0),
            '.pos_embed': dict(decay_mult=0.0),
        },
    ),
)

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
        eta_min_ratio=1.25e-4,  # of the peak, as for CAE-base
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
