# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""A CAE that a CPU trains in about two minutes. `make demo` runs it.

The images are the 8x8 digits that ship with scikit-learn, at 32 px. Small CAEs
learn from many small steps, block masks and an alignment weight of 1. With the
values of the large recipe they do not (docs/tokenizers.md).
"""

_base_ = [
    '../_base_/models/cae_tiny-p8.py',
    '../_base_/datasets/digits_cae_32.py',
    '../_base_/schedules/tiny_cae_80e.py',
    '../_base_/default_runtime.py',
]

default_hooks = dict(
    logger=dict(interval=43),  # iterations, an epoch
    checkpoint=dict(interval=_base_.max_epochs, save_optimizer=False),
)
randomness = dict(seed=0)
