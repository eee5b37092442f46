# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
r"""Detection in your own images, on one card.

    mmcae train CONFIG --cfg-options checkpoint=RUN/cae/epoch_N.pth \
        data_root=PATH

The images are in PATH/images; PATH/train.json and PATH/val.json are in COCO's
format. The classes are the categories of train.json. If its objects have
masks, the detector predicts masks, too. The checkpoint gives the sizes of the
encoder and the normalization. Learning rate and layer decay
follow the authors' for COCO. (docs/transfer.md)
"""

_base_ = [
    '../../../_base_/models/mask-rcnn_beit-base-p16.py',
    '../../../_base_/datasets/coco_instance_cae.py',
    '../../../_base_/schedules/mask-rcnn_adamw_12e.py',
    '../../../_base_/detection_runtime.py',
]

from mmcae.checkpoint.encoder_settings import encoder_settings  # noqa: E402
from mmcae.datasets.coco_json import coco_summary  # noqa: E402

checkpoint = 'work_dirs/cae_beit-small-p16_1xb128-accum2-amp-coslr-300e_folder-small/epoch_300.pth'
data_root = 'data/own/'
# Below data_root:
train_json, val_json = 'train.json', 'val.json'
train_images, val_images = 'images/', 'images/'
image_size = 512  # short side; the long side is at most twice that
flip_prob = 0.5
anchor_scale = 8  # sides of anchors / strides; smaller for small objects
num_workers = 4
batch_size = 8
lr = 1e-4  # for a batch of 8
max_epochs, warmup_iters = 24, 500

custom_imports = dict(imports=['mmcae.datasets.own_coco'])
encoder = encoder_settings(checkpoint, otherwise='small')
annotations = coco_summary(data_root + train_json, missing_ok=True)
classes, with_masks = annotations.classes, annotations.has_masks
width, channels = encoder.width, 256
scale = (2 * image_size, image_size)

norm_cfg = dict(type='BN', requires_grad=True)
model = dict(
    data_preprocessor=dict(
        mean=list(encoder.mean),
        std=list(encoder.std),
        pad_mask=with_masks,
    ),
    backbone=dict(
        arch=dict(_delete_=True, **encoder.arch),
        img_size=encoder.image_size,
        patch_size=encoder.patch_size,
        out_indices=encoder.out_indices,
        layer_scale_init_value=encoder.layer_scale,
        drop_path_rate=0.1,
        with_cp=True,
        init_cfg=dict(
            type='Pretrained', checkpoint=checkpoint, prefix='backbone.'
        ),
    ),
    neck=[
        dict(
            type='mmcae.FeaturePyramid',
            embed_dims=width,
            norm_cfg=norm_cfg,
            patch_size=encoder.patch_size,
        ),
        dict(
            type='FPN',
            in_channels=[width] * 4,
            out_channels=channels,
            num_outs=5,
        ),
    ],
    rpn_head=dict(
        in_channels=channels,
        feat_channels=channels,
        anchor_generator=dict(scales=[anchor_scale]),
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=channels),
        bbox_head=dict(
            in_channels=channels,
            conv_out_channels=channels,
            fc_out_channels=1024,
            num_classes=len(classes),
            norm_cfg=norm_cfg,
        ),
        mask_roi_extractor=dict(out_channels=channels) if with_masks else None,
        mask_head=dict(
            in_channels=channels,
            conv_out_channels=channels,
            num_classes=len(classes),
        )
        if with_masks
        else None,
    ),
)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=with_masks),
    dict(type='RandomFlip', prob=flip_prob),
    dict(
        type='RandomChoiceResize',
        scales=[
            (2 * side, side)
            for side in (
                7 * image_size // 8,
                image_size,
                9 * image_size // 8,
            )
        ],
        keep_ratio=True,
    ),
    dict(type='PackDetInputs'),
]
# Annotations are loaded after `Resize` and keep their size: predictions are
# compared at the size of the original image.
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=scale, keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=with_masks),
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

dataset = dict(
    type='mmcae.OwnCocoDataset',
    data_root=data_root,
    metainfo=dict(classes=classes),
    with_masks=with_masks,
)
loader = dict(num_workers=num_workers, persistent_workers=num_workers > 0)
train_dataloader = dict(
    batch_size=batch_size,
    dataset=dict(
        ann_file=train_json,
        data_prefix=dict(img=train_images),
        pipeline=train_pipeline,
        **dataset,
    ),
    **loader,
)
val_dataloader = dict(
    dataset=dict(
        ann_file=val_json,
        data_prefix=dict(img=val_images),
        pipeline=test_pipeline,
        **dataset,
    ),
    **loader,
)
test_dataloader = val_dataloader
val_evaluator = dict(
    ann_file=data_root + val_json,
    metric=['bbox', 'segm'] if with_masks else ['bbox'],
)
test_evaluator = val_evaluator

optim_wrapper = dict(
    type='mmcae.AmpOptimWrapper',
    optimizer=dict(lr=lr),
    paramwise_cfg=dict(layer_decay_rate=0.75),
)
param_scheduler = [
    dict(
        type='mmcae.FullWarmupLR',
        start_factor=0.001,
        begin=0,
        end=warmup_iters,
        by_epoch=False,
    ),
    dict(
        type='MultiStepLR',
        milestones=[
            max(1, 3 * max_epochs // 4),
            max(1, 11 * max_epochs // 12),
        ],
        gamma=0.1,
        begin=0,
        end=max_epochs,
        by_epoch=True,
    ),
]
train_cfg = dict(max_epochs=max_epochs, val_interval=max(1, max_epochs // 4))
default_hooks = dict(
    logger=dict(interval=10),
    checkpoint=dict(interval=max(1, max_epochs // 4)),
)
auto_scale_lr = dict(base_batch_size=batch_size)
del encoder, annotations  # their values are in the model
