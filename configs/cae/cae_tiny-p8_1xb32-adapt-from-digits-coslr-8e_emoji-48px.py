# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Continue the packaged CAE of digits on emoji, for a quarter of the epochs.

The encoder has the width of the start, 64. Image size, normalization, masks
and tokenizer are those of the emoji.

python tools/dataset_converters/emoji.py data/emoji PACKAGES
"""

_base_ = './cae_tiny-p8_1xb32-coslr-30e_emoji-48px.py'

# The last layer of the decoder is new, because it has an output for each code
# of the tokenizer. The position table is made for the larger grid.
load_from = 'mmcae://cae_tiny-p8_1xb32-coslr-80e_digits-32px'
tokenizer = 'mmcae://dvae_f8-k128_1xb32-8e_emoji-48px'
width, num_heads = 64, 2

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

# Half the peak from scratch, docs/adapt.md.
lr, max_epochs, warmup_epochs = 0.5 * 1.5e-3, 8, 1
layer_decay = 1.0  # 1 trains all layers at the same rate
optim_wrapper = dict(
    constructor='mmcae.LayerDecayOptimWrapperConstructor',
    optimizer=dict(lr=lr),
    paramwise_cfg=dict(layer_decay_rate=layer_decay),
)
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-6,
        end=warmup_epochs,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        eta_min=0.0,
        begin=warmup_epochs,
        end=max_epochs,
        T_max=max_epochs - warmup_epochs,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(max_epochs=max_epochs)
default_hooks = dict(checkpoint=dict(interval=max_epochs))
