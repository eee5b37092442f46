# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""CAE-base with UPerNet for crops of 512 px: the authors' segmentation model.

Classes have their scope, so that the model can be built from any package.
"""

norm_cfg = dict(type='SyncBN', requires_grad=True)
image_size, num_classes, width = (512, 512), 150, 768

model = dict(
    type='mmseg.EncoderDecoder',
    data_preprocessor=dict(
        type='mmseg.SegDataPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
        size=image_size,
    ),
    # The features are the outputs of blocks 4, 6, 8 and 12, without the final
    # norm. The position table of the checkpoint is resized and not trained.
    # The relative position biases start at zero. The layer scales come from
    # the checkpoint.
    backbone=dict(
        type='mmcae.CAEViT',
        arch='base',
        img_size=image_size,
        patch_size=16,
        out_type='featmap',
        out_indices=(3, 5, 7, 11),
        final_norm=False,
        use_abs_pos_emb=True,
        use_rel_pos_bias=True,
        drop_path_rate=0.1,
        layer_scale_init_value=0.1,
    ),
    neck=dict(
        type='mmcae.FeaturePyramid', embed_dims=width, norm_cfg=norm_cfg
    ),
    decode_head=dict(
        type='mmseg.UPerHead',
        in_channels=[width] * 4,
        in_index=[0, 1, 2, 3],
        pool_scales=(1, 2, 3, 6),
        channels=width,
        dropout_ratio=0.1,
        num_classes=num_classes,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(
            type='mmseg.CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0
        ),
    ),
    auxiliary_head=dict(
        type='mmseg.FCNHead',
        in_channels=width,
        in_index=2,
        channels=256,
        num_convs=1,
        concat_input=False,
        dropout_ratio=0.1,
        num_classes=num_classes,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(
            type='mmseg.CrossEntropyLoss', use_sigmoid=False, loss_weight=0.4
        ),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode='slide', crop_size=image_size, stride=(341, 341)),
)
