# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
r"""Segmentation of your own images, on one card.

    mmcae train CONFIG --cfg-options checkpoint=RUN/cae/epoch_N.pth \
        data_root=PATH "classes=['background','leaf']"

The images are in PATH/images, and their masks in PATH/masks: PNG files of the
same names whose pixels are the indices of the classes; 255 means not labeled.
A fifth of the images is held out, unless both folders have the subfolders
train and val. The checkpoint gives the sizes of the encoder and the
normalization. Learning rate and layer decay are the
authors' for ADE20K. (docs/transfer.md)
"""

_base_ = [
    '../../../_base_/models/upernet_beit-base-p16.py',
    '../../../_base_/schedules/upernet_adamw_160k.py',
    '../../../_base_/segmentation_runtime.py',
]

from mmcae.checkpoint.encoder_settings import encoder_settings  # noqa: E402

checkpoint = 'work_dirs/cae_beit-small-p16_1xb128-accum2-amp-coslr-300e_folder-small/epoch_300.pth'
data_root = 'data/own'
images, masks = 'images', 'masks'  # folders below data_root
classes = ('background', 'object')
zero_is_unlabeled = False  # True: 0 means not labeled, and classes begin at 1
class_weight = None  # such as [0.2, 1.0] if the background is nearly all
image_size = 512  # side of a crop; the short side of images in tests
crop_ratio = (1.0, 2.0)  # short side of the training images / image_size
flip_prob = 0.5
num_workers = 4
batch_size = 8
lr = 1.5e-4  # for a batch of 8
max_iters, warmup_iters = 10000, 500

encoder = encoder_settings(checkpoint, otherwise='small')
width = encoder.width
size = (image_size, image_size)
scale = (4 * image_size, image_size)

norm_cfg = dict(type='BN', requires_grad=True)
head = dict(
    num_classes=len(classes),
    norm_cfg=norm_cfg,
    loss_decode=dict(class_weight=class_weight),
)
model = dict(
    data_preprocessor=dict(
        mean=list(encoder.mean), std=list(encoder.std), size=size
    ),
    backbone=dict(
        arch=dict(_delete_=True, **encoder.arch),
        img_size=size,
        patch_size=encoder.patch_size,
        out_indices=encoder.out_indices,
        layer_scale_init_value=encoder.layer_scale,
        drop_path_rate=0.1,
        init_cfg=dict(
            type='Pretrained', checkpoint=checkpoint, prefix='backbone.'
        ),
    ),
    neck=dict(
        embed_dims=width, norm_cfg=norm_cfg, patch_size=encoder.patch_size
    ),
    decode_head=dict(in_channels=[width] * 4, channels=width, **head),
    auxiliary_head=dict(in_channels=width, channels=256, **head),
    test_cfg=dict(
        crop_size=size, stride=(2 * image_size // 3, 2 * image_size // 3)
    ),
)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', reduce_zero_label=zero_is_unlabeled),
    dict(
        type='RandomResize',
        scale=scale,
        ratio_range=crop_ratio,
        keep_ratio=True,
    ),
    dict(type='RandomCrop', crop_size=size),
    dict(type='RandomFlip', prob=flip_prob),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
# Masks are loaded after `Resize` and keep their size: predictions are
# compared at the size of the original image.
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=scale, keep_ratio=True),
    dict(type='LoadAnnotations', reduce_zero_label=zero_is_unlabeled),
    dict(type='PackSegInputs'),
]

dataset = dict(
    type='mmcae.MaskFolderDataset',
    data_root=data_root,
    images=images,
    masks=masks,
    classes=classes,
    zero_is_unlabeled=zero_is_unlabeled,
)
loader = dict(num_workers=num_workers, persistent_workers=num_workers > 0)
train_dataloader = dict(
    batch_size=batch_size,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(part='train', pipeline=train_pipeline, **dataset),
    **loader,
)
val_dataloader = dict(
    batch_size=1,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        part='val', test_mode=True, pipeline=test_pipeline, **dataset
    ),
    **loader,
)
test_dataloader = val_dataloader
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator

optim_wrapper = dict(
    type='mmcae.AmpOptimWrapper',
    optimizer=dict(lr=lr),
    paramwise_cfg=dict(layer_decay_rate=0.65),
)
param_scheduler = [
    dict(
        type='mmcae.FullWarmupLR',
        start_factor=1e-6,
        begin=0,
        end=warmup_iters,
        by_epoch=False,
    ),
    dict(
        type='PolyLR',
        power=1.0,
        eta_min=0.0,
        begin=0,
        end=max_iters + 1,
        by_epoch=False,
    ),
]
train_cfg = dict(max_iters=max_iters, val_interval=max(1, max_iters // 5))
default_hooks = dict(
    logger=dict(interval=max(1, min(50, max_iters // 20))),
    checkpoint=dict(interval=max(1, max_iters // 5)),
)
auto_scale_lr = dict(base_batch_size=batch_size)
del encoder  # its values are in the model
