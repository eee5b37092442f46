# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The authors' schedule of segmentation: 160k iterations, total batch 16."""

max_iters, warmup_iters = 160_000, 1500

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
    # class token are not decayed. The tables of the relative position bias
    # are. The authors' code is meant to exempt the class token, but decays it,
    # because it looks for another name.
    paramwise_cfg=dict(
        layer_decay_rate=0.65,
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        flat_decay_mult=0.0,
        custom_keys={'.cls_token': dict(decay_mult=0.0)},
    ),
)

# At iteration i (from 0), the learning rate is the peak times
# 1 - i / max_iters. During the warm-up, it is also multiplied by
# 1e-6 + (1 - 1e-6) * i / warmup_iters. PolyLR reaches 0 one step before its
# `end`, which is therefore max_iters + 1.
param_scheduler = [
    dict(
        type='mmcae.FullWarmupLR',
        start_factor=1e-6,
        begin=0,
        end=warmup_iters,
        by_epoch=False,
    ),
    dict(
        type='PolyLR',
        power=1.0,
        eta_min=0.0,
        begin=0,
        end=max_iters + 1,
        by_epoch=False,
    ),
]

train_cfg = dict(
    type='mmcae.IterBasedTrainLoop', max_iters=max_iters, val_interval=16_000
)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

default_hooks = dict(
    runtime_info=dict(type='mmcae.RuntimeInfoHook'),
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50, log_metric_by_epoch=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(
        type='mmcae.CheckpointHook',
        by_epoch=False,
        interval=8000,
        max_keep_ckpts=2,
        save_best='mIoU',
    ),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    signal=dict(type='mmcae.SignalHook'),
    non_finite=dict(type='mmcae.NonFiniteHook'),
    stall=dict(type='mmcae.StallHook'),
    visualization=dict(type='SegVisualizationHook'),
)

# With --auto-scale-lr, lr is multiplied by the actual batch / 16.
auto_scale_lr = dict(enable=False, base_batch_size=16)

# Augmentation and drop path differ between processes. `deterministic` is off:
# the bilinear upsampling in the heads has no deterministic gradient on GPUs.
randomness = dict(seed=0, diff_rank_seed=True)
