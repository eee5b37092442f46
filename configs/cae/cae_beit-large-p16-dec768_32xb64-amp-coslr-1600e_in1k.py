# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""CAE-large as the authors' `scripts/cae_large_1600e.sh` runs it.

One line of that script lacks its continuation, so the width of the decoder,
its number of heads and the flag for the initial weights never reach the
program. Regressor and decoder are then 768 wide, behind a projection, and all
weights start from Xavier's. It is not known whether the published weights come
from this run or from the intended one.
"""

_base_ = './cae_beit-large-p16_32xb64-amp-coslr-1600e_in1k.py'

model = dict(
    backbone=dict(weight_init='xavier'),
    neck=dict(
        embed_dims=768,
        num_heads=12,
        layer_scale_init_value=1e-5,
        weight_init='xavier',
    ),
)
