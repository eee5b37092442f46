# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The digits recipe with two hooks that watch it; they change no number."""

_base_ = '../configs/cae/cae_tiny-p8_1xb32-coslr-80e_digits-32px.py'

custom_hooks = [
    *_base_.custom_hooks,
    dict(type='mmcae.CollapseHook', interval=215),
    dict(type='mmcae.ReconstructionHook', interval=860),
]
