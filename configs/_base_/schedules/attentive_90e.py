# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Attentive probing: SGD, 90 epochs with 10 of warm-up, then half a cosine."""

max_epochs, warmup_epochs = 90, 10

optim_wrapper = dict(
    type='mmcae.AmpOptimWrapper',  # float16 on a GPU, bfloat16 on a CPU
    loss_scale='dynamic',
    accumulative_counts=1,
    constructor='mmcae.MergedOptimWrapperConstructor',
    optimizer=dict(
        type='SGD',
        lr=0.4,  # at a batch of 8192, used as written
        momentum=0.9,
        nesterov=True,
        weight_decay=0.0,
    ),
)

# With --auto-scale-lr, lr is multiplied by the actual batch / 8192. The
# authors did not scale it.
auto_scale_lr = dict(base_batch_size=8192)

train_cfg = dict(
    type='mmcae.EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=1
)
val_cfg = dict()
test_cfg = dict()

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
