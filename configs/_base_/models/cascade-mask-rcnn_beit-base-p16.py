# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""CAE-base with Cascade Mask R-CNN: mmdetection's, with three stages.

Encoder and pyramid are those of mask-rcnn_beit-base-p16. The authors' code has
this model, but they give neither a recipe nor a result.
"""

_base_ = 'mmdet::_base_/models/cascade-mask-rcnn_r50_fpn.py'

width = 768

model = dict(
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
        dict(
            type='mmcae.FeaturePyramid',
            embed_dims=width,
            norm_cfg=dict(type='SyncBN', requires_grad=True),
        ),
        dict(
            type='FPN', in_channels=[width] * 4, out_channels=256, num_outs=5
        ),
    ],
)
