# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""A segmentation run that a CPU finishes in a minute or two.

The model has the parts of UPerNet with CAE-base, at the width of
cae_tiny-p8_1xb32-coslr-80e_digits-32px, whose encoder it starts from. The
images are digits drawn onto photographs:

    python tools/dataset_converters/tiny_ade.py data/tiny-ade
"""

_base_ = './upernet_beit-base-p16_cae-300e-pre_8xb2-amp-160k_ade20k-512x512.py'

checkpoint = 'work_dirs/cae_tiny-p8_1xb32-coslr-80e_digits-32px/epoch_80.pth'
data_root = 'data/tiny-ade'
classes = ('photograph', 'zero', 'one', 'four', 'seven')
palette = [
    [120, 120, 120],
    [230, 25, 75],
    [60, 180, 75],
    [0, 130, 200],
    [255, 225, 25],
]
scale, crop_size, width = (384, 96), (96, 96), 64
max_iters, warmup_iters = 400, 20

norm_cfg = dict(type='BN', requires_grad=True)
# Seven of eight pixels belong to the photograph. With equal weights, the model
# would learn nothing else in the first hundreds of iterations.
head = dict(
    channels=width,
    num_classes=len(classes),
    norm_cfg=norm_cfg,
    loss_decode=dict(class_weight=[0.2, 1.0, 1.0, 1.0, 1.0]),
)
model = dict(
    # Normalized as in pretraining.
    data_preprocessor=dict(mean=[76.5] * 3, std=[89.25] * 3, size=crop_size),
    backbone=dict(
        arch=dict(
            _delete_=True,
            embed_dims=width,
            num_layers=4,
            num_heads=2,
            feedforward_channels=4 * width,
        ),
        img_size=crop_size,
        patch_size=8,
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.0,
        init_cfg=dict(checkpoint=checkpoint),
    ),
    neck=dict(embed_dims=width, norm_cfg=norm_cfg, patch_size=8),
    decode_head=dict(in_channels=[width] * 4, **head),
    auxiliary_head=dict(in_channels=width, **head),
    test_cfg=dict(crop_size=crop_size, stride=(64, 64)),
)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', reduce_zero_label=True),
    dict(
        type='RandomResize',
        scale=scale,
        ratio_range=(1.0, 1.5),
        keep_ratio=True,
    ),
    # There is no `cat_max_ratio`, because the photograph covers most of every
    # crop, and no flip, because a mirrored digit is no digit.
    dict(type='RandomCrop', crop_size=crop_size),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=scale, keep_ratio=True),
    dict(type='LoadAnnotations', reduce_zero_label=True),
    dict(type='PackSegInputs'),
]
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='TestTimeAug',
        transforms=[
            [
                dict(type='Resize', scale=(384, 96), keep_ratio=True),
                dict(type='Resize', scale=(480, 120), keep_ratio=True),
            ],
            [dict(type='RandomFlip', prob=0.0)],
            [dict(type='LoadAnnotations', reduce_zero_label=True)],
            [dict(type='PackSegInputs')],
        ],
    ),
]

dataset = dict(
    type='BaseSegDataset',
    data_root=data_root,
    img_suffix='.jpg',
    seg_map_suffix='.png',
    reduce_zero_label=True,
    metainfo=dict(classes=classes, palette=palette),
)
loader = dict(num_workers=0, persistent_workers=False)
train_dataloader = dict(
    batch_size=8, dataset=dict(pipeline=train_pipeline, **dataset), **loader
)
val_dataloader = dict(
    dataset=dict(pipeline=test_pipeline, **dataset), **loader
)
test_dataloader = val_dataloader

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
train_cfg = dict(max_iters=max_iters, val_interval=max_iters // 4)
default_hooks = dict(checkpoint=dict(interval=max_iters // 4))
auto_scale_lr = dict(base_batch_size=8)
