# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""CAE-base, 800 epochs on ImageNet-1K: the authors' recipe.

Only the length differs from 300 epochs: 800, of which 20 are warm-up.
Source: `scripts/cae_base_800e.sh`.
"""

_base_ = './cae_beit-base-p16_8xb256-amp-coslr-300e_in1k.py'

max_epochs, warmup_epochs = 800, 20

train_cfg = dict(max_epochs=max_epochs)

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
        eta_min=1e-5,
        begin=warmup_epochs,
        end=max_epochs,
        T_max=max_epochs - warmup_epochs,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
