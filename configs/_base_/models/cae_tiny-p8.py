# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""A CAE of width 64 for one CPU core.

The encoder has four blocks, regressor and decoder have one each. Image size,
number of codes and normalization are those of the digits. The configs for
other images override them.
"""

tokenizer = 'work_dirs/dvae_f8-k64_1xb32-13e_digits-32px/epoch_13.pth'
width, vocab_size = 64, 64

model = dict(
    type='mmcae.CAE',
    # The second view goes to the tokenizer, which takes pixels in [0, 1].
    data_preprocessor=dict(
        type='mmcae.CAEDataPreprocessor',
        mean=[76.5] * 3,
        std=[89.25] * 3,
        second_mean=[0.0] * 3,
        second_std=[255.0] * 3,
        to_rgb=True,
    ),
    backbone=dict(
        type='mmcae.CAEPretrainViT',
        arch=dict(
            embed_dims=width,
            num_layers=4,
            num_heads=2,
            feedforward_channels=4 * width,
        ),
        img_size=32,
        patch_size=8,
        layer_scale_init_value=0.1,
    ),
    neck=dict(
        type='mmcae.CAENeck',
        num_classes=vocab_size,
        embed_dims=width,
        num_heads=2,
        regressor_depth=1,
        decoder_depth=1,
        layer_scale_init_value=0.1,
    ),
    # An alignment weight of 1. With the large recipe's weight of 2, models of
    # this size learn less (docs/tokenizers.md).
    head=dict(
        type='mmcae.CAEHead', loss=dict(type='mmcae.CAELoss', lambd=1.0)
    ),
    target_generator=dict(
        type='mmcae.DVAE',
        vocab_size=vocab_size,
        downsample=8,  # pixels a token, the patch size
        overlap=False,
        init_cfg=dict(type='Pretrained', checkpoint=tokenizer),
    ),
)
