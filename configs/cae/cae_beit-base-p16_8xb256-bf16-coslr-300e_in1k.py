# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""CAE-base, 300 epochs, in bfloat16: no loss scaling, no overflow."""

_base_ = './cae_beit-base-p16_8xb256-amp-coslr-300e_in1k.py'

optim_wrapper = dict(dtype='bfloat16')
