# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The authors' schedule of detection, "1x": 12 epochs, total batch 32."""

max_epochs, warmup_iters = 12, 500

optim_wrapper = dict(
    type='mmcae.AmpOptimWrapper',  # float16 on a GPU, bfloat16 on a CPU
    constructor='mmcae.LayerDecayOptimWrapperConstructor',
    optimizer=dict(
        type='AdamW',
        lr=3e-4,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=0.05,
        fused=True,
    ),
    # There is no gradient clip. Vectors (norms, biases, layer scales) and the
    # class token are not decayed. The authors' code is meant to exempt the
    # class token, but decays it, because it looks for another name.
    paramwise_cfg=dict(
        layer_decay_rate=0.75,
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        flat_decay_mult=0.0,
        custom_keys={'.cls_token': dict(decay_mult=0.0)},
    ),
)

# At iteration i (from 0) of the warm-up, the learning rate is the peak times
# 0.001 + 0.999 * i / warmup_iters. It falls to a tenth after 9 epochs, and
# again after 11.
param_scheduler = [
    dict(
        type='mmcae.FullWarmupLR',
        start_factor=0.001,
        begin=0,
        end=warmup_iters,
        by_epoch=False,
    ),
    dict(
        type='MultiStepLR',
        milestones=[9, 11],
        gamma=0.1,
        begin=0,
        end=max_epochs,
        by_epoch=True,
    ),
]

# There is one validation, after the last epoch.
train_cfg = dict(
    type='mmcae.EpochBasedTrainLoop',
    max_epochs=max_epochs,
    val_interval=max_epochs,
)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

# With --auto-scale-lr, lr is multiplied by the actual batch / 32.
auto_scale_lr = dict(enable=False, base_batch_size=32)

# Augmentation and drop path differ between processes. `deterministic` is off:
# RoIAlign has no deterministic gradient on GPUs.
randomness = dict(seed=0, diff_rank_seed=True)
