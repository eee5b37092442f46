# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""A detection run that a CPU finishes in a few minutes.

The model has the parts of Mask R-CNN with CAE-base, at the width of
cae_tiny-p8_1xb32-coslr-80e_digits-32px, whose encoder it starts from. The
images are digits drawn onto photographs:

    python tools/dataset_converters/tiny_coco.py data/tiny-coco
"""

_base_ = './mask-rcnn_beit-base-p16_cae-300e-pre_16xb2-amp-12e_coco.py'

checkpoint = 'work_dirs/cae_tiny-p8_1xb32-coslr-80e_digits-32px/epoch_80.pth'
data_root = 'data/tiny-coco/'
classes = ('zero', 'one', 'four', 'seven')
palette = [(230, 25, 75), (60, 180, 75), (0, 130, 200), (255, 225, 25)]
scale, width, channels = (128, 96), 64, 32

norm_cfg = dict(type='BN', requires_grad=True)

model = dict(
    # Normalized as in pretraining.
    data_preprocessor=dict(mean=[76.5] * 3, std=[89.25] * 3),
    backbone=dict(
        arch=dict(
            _delete_=True,
            embed_dims=width,
            num_layers=4,
            num_heads=2,
            feedforward_channels=4 * width,
        ),
        img_size=32,
        patch_size=8,
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.0,
        with_cp=False,
        init_cfg=dict(checkpoint=checkpoint),
    ),
    neck=[
        dict(
            type='mmcae.FeaturePyramid',
            embed_dims=width,
            norm_cfg=norm_cfg,
            patch_size=8,
        ),
        dict(
            type='FPN',
            in_channels=[width] * 4,
            out_channels=channels,
            num_outs=5,
        ),
    ],
    # Digits are 10 to 50 pixels wide and high.
    rpn_head=dict(
        in_channels=channels,
        feat_channels=channels,
        anchor_generator=dict(scales=[4]),
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=channels),
        bbox_head=dict(
            in_channels=channels,
            conv_out_channels=channels,
            fc_out_channels=128,
            num_classes=len(classes),
            norm_cfg=norm_cfg,
        ),
        mask_roi_extractor=dict(out_channels=channels),
        mask_head=dict(
            num_convs=2,
            in_channels=channels,
            conv_out_channels=channels,
            num_classes=len(classes),
        ),
    ),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=64)),
        rpn_proposal=dict(nms_pre=200, max_per_img=100),
        rcnn=dict(sampler=dict(num=32)),
    ),
    test_cfg=dict(
        rpn=dict(nms_pre=100, max_per_img=50), rcnn=dict(max_per_img=10)
    ),
)

resize = dict(
    type='RandomChoiceResize',
    scales=[(112, 84), (128, 96), (144, 108)],
    keep_ratio=True,
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    # There is no flip, because a mirrored digit is no digit.
    dict(
        type='RandomChoice',
        transforms=[
            [resize],
            [
                dict(
                    type='RandomCrop',
                    crop_type='absolute_range',
                    crop_size=(64, 96),
                    allow_negative_crop=True,
                ),
                resize,
            ],
        ],
    ),
    dict(type='PackDetInputs'),
]
# Annotations are loaded after `Resize` and keep their size: predictions are
# compared at the size of the original image.
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=scale, keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(
        type='PackDetInputs',
        meta_keys=(
            'img_id',
            'img_path',
            'ori_shape',
            'img_shape',
            'scale_factor',
        ),
    ),
]

metainfo = dict(classes=classes, palette=palette)
loader = dict(num_workers=0, persistent_workers=False)
train_dataloader = dict(
    batch_size=8,
    dataset=dict(
        data_root=data_root, metainfo=metainfo, pipeline=train_pipeline
    ),
    **loader,
)
val_dataloader = dict(
    dataset=dict(
        data_root=data_root, metainfo=metainfo, pipeline=test_pipeline
    ),
    **loader,
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/instances_val2017.json')
test_evaluator = val_evaluator

# Models of this size are faster in float32. Their four blocks need only a mild
# layer decay.
optim_wrapper = dict(
    type='mmcae.OptimWrapper',
    # As when the numbers of the docs were measured.
    optimizer=dict(lr=2e-3, fused=False),
    paramwise_cfg=dict(layer_decay_rate=0.9),
)
param_scheduler = [
    dict(
        type='mmcae.FullWarmupLR',
        start_factor=0.001,
        begin=0,
        end=20,
        by_epoch=False,
    ),
    dict(
        type='MultiStepLR',
        milestones=[9, 11],
        gamma=0.1,
        begin=0,
        end=_base_.max_epochs,
        by_epoch=True,
    ),
]
train_cfg = dict(val_interval=3)
default_hooks = dict(logger=dict(interval=8))
auto_scale_lr = dict(base_batch_size=8)
