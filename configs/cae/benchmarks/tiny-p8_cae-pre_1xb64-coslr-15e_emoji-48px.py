# Fine-tuning of the tiny CAE on labelled emoji.
#
#   python tools/train.py CONFIG --cfg-options checkpoint=PATH
checkpoint = 'work_dirs/cae_tiny-p8_1xb32-coslr-30e_emoji-48px/epoch_30.pth'

_base_ = [
    '../../_base_/datasets/emoji_cls_48.py',
    '../../_base_/schedules/tiny_finetune_30e.py',
    '../../_base_/default_runtime.py',
]

model = dict(
    type='mmpretrain.ImageClassifier',
    backbone=dict(
        type='mmcae.CAEViT',
        arch=dict(
            embed_dims=96,
            num_layers=4,
            num_heads=3,
            feedforward_channels=384),
        img_size=48,
        patch_size=8,
        out_type='avg_featmap',
        use_rel_pos_bias=True,
        drop_path_rate=0.0,
        layer_scale_init_value=0.1,
        init_cfg=dict(
            type='Pretrained', checkpoint=checkpoint, prefix='backbone.')),
    head=dict(
        type='mmpretrain.LinearClsHead',
        num_classes=9,
        in_channels=96,
        topk=(1, ),
        loss=dict(
            type='mmpretrain.LabelSmoothLoss',
            label_smooth_val=0.1,
            mode='original'),
        init_cfg=dict(
            type='TruncNormal', layer='Linear', std=2e-5, a=-2e-3, b=2e-3)))

train_cfg = dict(max_epochs=15, val_interval=15)
param_scheduler = _base_.param_scheduler
param_scheduler[1].update(end=15, T_max=12)
default_hooks = dict(
    logger=dict(interval=47),
    checkpoint=dict(interval=15, save_optimizer=False))
custom_hooks = [
    dict(type='mmcae.DataHealthHook'),
]
randomness = dict(seed=0)
