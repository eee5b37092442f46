# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Pretraining of tiny CAEs: 80 epochs of small batches, in float32."""

lr, max_epochs, warmup_epochs = 2e-3, 80, 3

optim_wrapper = dict(
    type='mmcae.OptimWrapper',
    constructor='mmcae.MergedOptimWrapperConstructor',
    optimizer=dict(
        type='AdamW',
        lr=lr,
        betas=(0.9, 0.999),
        weight_decay=0.05,
        fused=True,
    ),
    clip_grad=dict(max_norm=3.0),
    # Rounds as when the numbers of the docs were measured.
    clips_in_step=False,
    paramwise_cfg=dict(
        norm_decay_mult=0.0, bias_decay_mult=0.0, flat_decay_mult=0.0
    ),
)

param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-6,
        end=warmup_epochs,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        eta_min=0.0,
        begin=warmup_epochs,
        end=max_epochs,
        T_max=max_epochs - warmup_epochs,
        convert_to_iter_based=True,
    ),
]

train_cfg = dict(type='mmcae.EpochBasedTrainLoop', max_epochs=max_epochs)
