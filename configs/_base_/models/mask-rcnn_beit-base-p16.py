# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""CAE-base with Mask R-CNN: the authors' detection model.

Anchors, assigners, samplers, mask head and test settings are those of
mmdetection's model with a ResNet-50.
"""

_base_ = 'mmdet::_base_/models/mask-rcnn_r50_fpn.py'

norm_cfg = dict(type='SyncBN', requires_grad=True)
width = 768

model = dict(
    # The features are the outputs of blocks 4, 6, 8 and 12, without the final
    # norm. There is no relative position bias. The position table comes from
    # the checkpoint and is not trained: `img_size` is that of pretraining, and
    # the table is resized to the grid of each batch.
    backbone=dict(
        _delete_=True,
        type='mmcae.CAEViT',
        arch='base',
        img_size=224,
        patch_size=16,
        out_type='featmap',
        out_indices=(3, 5, 7, 11),
        final_norm=False,
        use_abs_pos_emb=True,
        use_rel_pos_bias=False,
        drop_path_rate=0.2,
        layer_scale_init_value=0.1,
        with_cp=True,
    ),
    neck=[
        dict(type='mmcae.FeaturePyramid', embed_dims=width, norm_cfg=norm_cfg),
        dict(
            type='FPN', in_channels=[width] * 4, out_channels=256, num_outs=5
        ),
    ],
    # The box head has four convolutions with norm and one linear layer, where
    # mmdetection's has two linear layers. Its loss is the GIoU of the decoded
    # boxes, where mmdetection's is the L1 distance of encoded boxes.
    roi_head=dict(
        bbox_head=dict(
            type='ConvFCBBoxHead',
            num_shared_convs=4,
            num_shared_fcs=1,
            conv_out_channels=256,
            norm_cfg=norm_cfg,
            reg_decoded_bbox=True,
            loss_bbox=dict(_delete_=True, type='GIoULoss', loss_weight=10.0),
        )
    ),
    train_cfg=dict(rpn_proposal=dict(max_per_img=2000)),
)
