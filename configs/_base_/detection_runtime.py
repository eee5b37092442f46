# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Environment, logs and pictures of detection."""

_base_ = 'mmdet::_base_/default_runtime.py'

default_hooks = dict(
    checkpoint=dict(type='mmcae.CheckpointHook', max_keep_ckpts=2),
    signal=dict(type='mmcae.SignalHook'),
    stall=dict(type='mmcae.StallHook'),
)
