# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
r"""Fine-tuning of a tiny CAE on your own classes, one folder for each.

    python tools/train.py CONFIG --cfg-options data_root=PATH num_classes=10 \
        checkpoint=RUN/cae/epoch_150.pth

The images of class CAT are in PATH/train/CAT and PATH/val/CAT. Sizes and
normalization must be those of the pretraining; the defaults are those of
cae_tiny-p8_1xb32-coslr-150e_folder-tiny.
"""

_base_ = [
    '../../_base_/schedules/tiny_finetune_30e.py',
    '../../_base_/default_runtime.py',
]

data_root = 'data/classes'
num_classes = 10
# Files with an image's path below data_root and its class a line. Without
# them, the images are found in data_root/train and data_root/val.
train_list = ''
val_list = ''
classes = None  # names, for images that are listed
checkpoint = 'work_dirs/cae_tiny-p8_1xb32-coslr-150e_folder-tiny/epoch_150.pth'
channels = 3  # of the images, 1 to 16
# The values that become 0 and 255; None for 8 bits.
value_range = None
image_size = 48
patch_size = 8
width = 96
num_layers = 4
num_heads = 3
mean = [115.0, 110.0, 102.0]
std = [71.0, 69.0, 71.0]
crop_scale = (0.35, 1.0)  # area of a crop, as a share of the image
flip_prob = 0.5
num_workers = 0
batch_size = 64
lr = 2e-3  # for a batch of 64
max_epochs = 50
warmup_epochs = 5

data_preprocessor = dict(
    type='mmpretrain.ClsDataPreprocessor',
    num_classes=num_classes,
    mean=mean,
    std=std,
    to_rgb=True,
)

# Those of mmpretrain, and two more.
extensions = (
    *('.jpg', '.jpeg', '.png', '.ppm', '.bmp', '.pgm', '.tif'),
    *('.tiff', '.npy'),
)

train_pipeline = [
    dict(type='mmcae.LoadImage', channels=channels, value_range=value_range),
    dict(type='mmcae.RandomFlip', prob=flip_prob),
    dict(
        type='mmcae.RandomResizedCrop',
        size=image_size,
        scale=crop_scale,
        interpolation='bicubic',
        backend='fast',
    ),
    dict(type='mmpretrain.PackInputs'),
]
test_pipeline = [
    dict(type='mmcae.LoadImage', channels=channels, value_range=value_range),
    dict(
        type='mmcae.ResizeEdge',
        scale=image_size,
        edge='short',
        backend='pillow',  # antialiased
        interpolation='bicubic',
    ),
    dict(type='mmpretrain.CenterCrop', crop_size=image_size),
    dict(type='mmpretrain.PackInputs'),
]

train_dataloader = dict(
    batch_size=batch_size,
    num_workers=num_workers,
    sampler=dict(type='mmcae.SeededSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='mmpretrain.CustomDataset',
        extensions=extensions,
        data_root=data_root,
        data_prefix='' if train_list else 'train',
        ann_file=train_list,
        metainfo=dict(classes=classes) if classes else None,
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=batch_size,
    num_workers=num_workers,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='mmpretrain.CustomDataset',
        extensions=extensions,
        data_root=data_root,
        data_prefix='' if val_list else 'val',
        ann_file=val_list,
        metainfo=dict(classes=classes) if classes else None,
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
val_evaluator = dict(type='mmpretrain.Accuracy', topk=(1,))
test_dataloader = val_dataloader
test_evaluator = val_evaluator

model = dict(
    type='mmpretrain.ImageClassifier',
    backbone=dict(
        type='mmcae.CAEViT',
        arch=dict(
            embed_dims=width,
            num_layers=num_layers,
            num_heads=num_heads,
            feedforward_channels=4 * width,
        ),
        img_size=image_size,
        in_channels=channels,
        patch_size=patch_size,
        layer_scale_init_value=0.1,
        out_type='avg_featmap',
        use_rel_pos_bias=True,
        drop_path_rate=0.0,
        init_cfg=dict(
            type='Pretrained', checkpoint=checkpoint, prefix='backbone.'
        ),
    ),
    head=dict(
        type='mmpretrain.LinearClsHead',
        num_classes=num_classes,
        in_channels=width,
        topk=(1,),
        loss=dict(
            type='mmpretrain.LabelSmoothLoss',
            label_smooth_val=0.1,
            mode='original',
        ),
        init_cfg=dict(
            type='TruncNormal', layer='Linear', std=2e-5, a=-2e-3, b=2e-3
        ),
    ),
)

optim_wrapper = dict(optimizer=dict(lr=lr, fused=True))
auto_scale_lr = dict(base_batch_size=64)
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-6,
        end=warmup_epochs,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        eta_min_ratio=1.25e-4,
        begin=warmup_epochs,
        end=max_epochs,
        T_max=max_epochs - warmup_epochs,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
default_hooks = dict(checkpoint=dict(interval=max_epochs))
custom_hooks = [dict(type='mmcae.DataHealthHook')]
randomness = dict(seed=0)
