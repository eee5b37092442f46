# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Hooks, environment and logs that all configs share."""

_base_ = 'mmpretrain::_base_/default_runtime.py'

# A full disk costs lines of the log, not the run.
runner_type = 'mmcae.Runner'

default_hooks = dict(
    runtime_info=dict(type='mmcae.RuntimeInfoHook'),
    logger=dict(type='LoggerHook', interval=50),
    checkpoint=dict(
        type='mmcae.CheckpointHook', interval=10, max_keep_ckpts=3
    ),
    # Saves a run that is told to stop. It is a default hook, because many
    # configs replace the list of custom hooks.
    signal=dict(type='mmcae.SignalHook'),
    # Writes report.html into the work dir.
    report=dict(type='mmcae.ReportHook'),
    # Skips batches whose loss or gradient is not finite.
    non_finite=dict(type='mmcae.NonFiniteHook'),
    # Warns when the loss leaves the band of its recipe, if there is one.
    loss_band=dict(type='mmcae.LossBandHook'),
    # Ends a run in which a process stands still or is lost.
    stall=dict(type='mmcae.StallHook'),
)

# The first hook writes into each checkpoint which tokenizer was used, because
# the tokenizer's weights are not stored there. The second counts unreadable
# images.
custom_hooks = [
    dict(type='mmcae.TokenizerRecordHook'),
    dict(type='mmcae.DataHealthHook'),
]

# Training numbers are printed as means over the last 50 iterations, numbers of
# a validation as they are.
log_processor = dict(
    window_size=50,
    mean_pattern=r'.*(loss|time|grad_norm)|'
    r'(train/)?(main|align|acc|acc_position|cosine|latent_std|psnr)$',
)
