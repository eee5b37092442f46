# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Continued pretraining of tiny CAEs: lower peak, fewer epochs.

The values are those of mmcae/cli/planning/adaptation.py, which come from the
study in docs/adapt.md.
"""

scratch_lr = 2e-3  # the peak from scratch, as in tiny_cae_80e.py
lr, max_epochs, warmup_epochs = 0.5 * scratch_lr, 20, 1
layer_decay = 1.0  # 1 trains all layers at the same rate

optim_wrapper = dict(
    type='mmcae.OptimWrapper',
    constructor='mmcae.LayerDecayOptimWrapperConstructor',
    optimizer=dict(
        type='AdamW',
        lr=lr,
        betas=(0.9, 0.999),
        weight_decay=0.05,
        fused=True,
    ),
    clip_grad=dict(max_norm=3.0),
    paramwise_cfg=dict(
        layer_decay_rate=layer_decay,
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        flat_decay_mult=0.0,
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
