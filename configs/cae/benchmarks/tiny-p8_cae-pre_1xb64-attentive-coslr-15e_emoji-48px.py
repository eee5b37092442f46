# Attentive probing of the tiny CAE on labelled emoji.
#
#   python tools/train.py CONFIG --cfg-options checkpoint=PATH
checkpoint = 'work_dirs/cae_tiny-p8_1xb32-coslr-30e_emoji-48px/epoch_30.pth'

_base_ = [
    '../../_base_/datasets/emoji_cls_48.py',
    '../../_base_/schedules/tiny_attentive_30e.py',
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
        out_type='raw',
        final_norm=True,
        use_rel_pos_bias=False,
        layer_scale_init_value=0.1,
        frozen_stages=4,
        init_cfg=dict(
            type='Pretrained', checkpoint=checkpoint, prefix='backbone.')),
    head=dict(
        type='mmcae.AttentiveProbeHead',
        num_classes=9,
        in_channels=96,
        num_heads=3,
        topk=(1, ),
        loss=dict(type='mmpretrain.CrossEntropyLoss', loss_weight=1.0)))

train_cfg = dict(max_epochs=15, val_interval=15)
param_scheduler = _base_.param_scheduler
param_scheduler[1].update(end=15, T_max=12)
default_hooks = dict(
    logger=dict(interval=47),
    checkpoint=dict(interval=15, save_optimizer=False))
custom_hooks = [
    dict(type='mmcae.DataHealthHook'),
    dict(type='mmcae.ProbeSummaryHook'),
]
randomness = dict(seed=0)
