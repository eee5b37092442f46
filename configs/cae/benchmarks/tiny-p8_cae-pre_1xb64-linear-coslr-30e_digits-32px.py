# Linear probing of the tiny CAE on labelled digits.
#
#   python tools/train.py CONFIG --cfg-options checkpoint=PATH
checkpoint = 'work_dirs/cae_tiny-p8_1xb32-coslr-80e_digits-32px/epoch_80.pth'

_base_ = [
    '../../_base_/datasets/digits_cls_32.py',
    '../../_base_/schedules/tiny_linear_30e.py',
    '../../_base_/default_runtime.py',
]

model = dict(
    type='mmpretrain.ImageClassifier',
    backbone=dict(
        type='mmcae.CAEViT',
        arch=dict(
            embed_dims=64,
            num_layers=4,
            num_heads=2,
            feedforward_channels=256),
        img_size=32,
        patch_size=8,
        out_type='cls_token',
        final_norm=True,
        use_rel_pos_bias=False,
        layer_scale_init_value=0.1,
        frozen_stages=4,
        init_cfg=dict(
            type='Pretrained', checkpoint=checkpoint, prefix='backbone.')),
    neck=dict(
        type='mmpretrain.ClsBatchNormNeck', input_features=64, eps=1e-6),
    head=dict(
        type='mmpretrain.LinearClsHead',
        num_classes=10,
        in_channels=64,
        topk=(1, ),
        loss=dict(type='mmpretrain.CrossEntropyLoss', loss_weight=1.0),
        init_cfg=dict(
            type='TruncNormal', layer='Linear', std=0.01, a=-0.1, b=0.1)))

default_hooks = dict(
    logger=dict(interval=21),
    checkpoint=dict(interval=30, save_optimizer=False))
custom_hooks = [
    dict(type='mmcae.DataHealthHook'),
    dict(type='mmcae.ProbeSummaryHook'),
]
randomness = dict(seed=0)
