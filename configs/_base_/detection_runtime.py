# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Environment, logs and pictures of detection."""

_base_ = 'mmdet::_base_/default_runtime.py'

# A full disk costs lines of the log, not the run.
runner_type = 'mmcae.Runner'

default_hooks = dict(
    runtime_info=dict(type='mmcae.RuntimeInfoHook'),
    checkpoint=dict(type='mmcae.CheckpointHook', max_keep_ckpts=2),
    signal=dict(type='mmcae.SignalHook'),
    non_finite=dict(type='mmcae.NonFiniteHook'),
    stall=dict(type='mmcae.StallHook'),
)
