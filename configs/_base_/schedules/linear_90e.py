# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Linear probing: LARS, 90 epochs, 10 of warm-up, then half a cosine to 0."""

max_epochs, warmup_epochs = 90, 10

optim_wrapper = dict(
    type='mmcae.AmpOptimWrapper',  # float16 on a GPU, bfloat16 on a CPU
    loss_scale='dynamic',
    accumulative_counts=1,
    constructor='mmcae.MergedOptimWrapperConstructor',
    optimizer=dict(
        type='mmcae.LARS',
        lr=6.4,  # 0.1 * 16384 / 256, as the authors write it
        momentum=0.9,
        weight_decay=0.0,
        trust_coefficient=0.001,
    ),
)

auto_scale_lr = dict(base_batch_size=16384)

train_cfg = dict(
    type='mmcae.EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=1
)
val_cfg = dict()
test_cfg = dict()

param_scheduler = [
    dict(
        type='mmcae.FullWarmupLR',
        start_factor=1e-6,
        begin=0,
        end=warmup_epochs,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        eta_min=0.0,
        begin=warmup_epochs,
        end=max_epochs,
        T_max=max_epochs - warmup_epochs,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
