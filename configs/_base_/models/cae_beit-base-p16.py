# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""CAE-base: a ViT-B/16 encoder and DALL-E's 8192 visual tokens.

Regressor and decoder have four blocks each, as wide as the encoder.
"""

model = dict(
    type='mmcae.CAE',
    backbone=dict(
        type='mmcae.CAEPretrainViT',
        arch='base',
        img_size=224,
        patch_size=16,
        drop_path_rate=0.1,
        layer_scale_init_value=0.1,
        weight_init='xavier',
    ),
    neck=dict(
        type='mmcae.CAENeck',
        num_classes=8192,
        embed_dims=768,
        num_heads=12,
        regressor_depth=4,
        decoder_depth=4,
        drop_path_rate=0.1,
        layer_scale_init_value=0.1,
        weight_init='xavier',
    ),
    head=dict(
        type='mmcae.CAEHead', loss=dict(type='mmcae.CAELoss', lambd=2.0)
    ),
    # `checkpoint` may also be a local file, 'weights/dalle_encoder.pth'.
    target_generator=dict(
        type='mmcae.DALLEEncoder',
        precision='auto',  # float16 on GPUs, as in the authors' code
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://download.openmmlab.com/mmselfsup/1.x/'
            'target_generator_ckpt/dalle_encoder.pth',
            sha256=None,  # a first download logs what to write here
        ),
    ),
    target_encoder='shared',
)
