# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Continue the packaged CAE of emoji on digits, for a quarter of the epochs.

The encoder has the width of the start, 96. Image size, normalization, masks
and tokenizer are those of the digits.

python tools/dataset_converters/digits.py data/digits
"""

_base_ = [
    '../_base_/models/cae_tiny-p8.py',
    '../_base_/datasets/digits_cae_32.py',
    '../_base_/schedules/tiny_cae_adapt_20e.py',
    '../_base_/default_runtime.py',
]

# The last layer of the decoder is new, because it has an output for each code
# of the tokenizer.
load_from = 'mmcae://cae_tiny-p8_1xb32-coslr-30e_emoji-48px'
tokenizer = 'mmcae://dvae_f8-k64_1xb32-13e_digits-32px'
width, num_heads = 96, 3

model = dict(
    backbone=dict(
        arch=dict(
            embed_dims=width,
            num_heads=num_heads,
            feedforward_channels=4 * width,
        ),
    ),
    neck=dict(embed_dims=width, num_heads=num_heads),
    target_generator=dict(init_cfg=dict(checkpoint=tokenizer)),
)

default_hooks = dict(
    logger=dict(interval=43),  # iterations, an epoch
    checkpoint=dict(interval=_base_.max_epochs, save_optimizer=False),
)
randomness = dict(seed=0)
