# Fine-tuning of CAE-large on ImageNet-1K: the authors' recipe (86.2 % with
# the encoder of 1600 epochs). 8 GPUs x 64 x 8 accumulated = 4096.
#
# The encoder to start from, in any format (ours, the authors', OpenMMLab's):
#
#   python tools/train.py CONFIG \
#       --cfg-options checkpoint=PATH
checkpoint = (
    'work_dirs/cae_beit-large-p16_32xb64-amp-coslr-1600e_in1k/epoch_1600.pth')

_base_ = [
    '../../_base_/datasets/imagenet_finetune_224.py',
    '../../_base_/schedules/finetune_coslr_50e.py',
    '../../_base_/default_runtime.py',
]

model = dict(
    type='mmpretrain.ImageClassifier',
    # As the base size. Layer scales, of the checkpoint, began at 1e-5.
    backbone=dict(
        type='mmcae.CAEViT',
        arch='large',
        img_size=224,
        patch_size=16,
        out_type='avg_featmap',
        final_norm=False,
        use_abs_pos_emb=True,
        use_rel_pos_bias=True,
        drop_path_rate=0.2,
        layer_scale_init_value=1e-5,
        weight_init='beit',
        init_cfg=dict(
            type='Pretrained', checkpoint=checkpoint, prefix='backbone.')),
    neck=None,
    head=dict(
        type='mmpretrain.LinearClsHead',
        num_classes=1000,
        in_channels=1024,
        loss=dict(
            type='mmpretrain.LabelSmoothLoss',
            label_smooth_val=0.1,
            mode='original'),
        # Deviation .02 cut at +-2, times .001.
        init_cfg=dict(
            type='TruncNormal', layer='Linear', std=2e-5, a=-2e-3, b=2e-3)),
    train_cfg=dict(augments=[
        dict(type='Mixup', alpha=0.8),
        dict(type='CutMix', alpha=1.0),
    ]))

train_dataloader = dict(batch_size=64)
val_dataloader = dict(batch_size=96)
test_dataloader = dict(batch_size=96)

optim_wrapper = dict(accumulative_counts=8)
# What --auto-scale-lr compares with is the batch of one iteration.
auto_scale_lr = dict(base_batch_size=512)

default_hooks = dict(
    checkpoint=dict(interval=1, max_keep_ckpts=3, save_best='auto'))

custom_hooks = [dict(type='mmcae.DataHealthHook')]

# Augmentations and drop path differ between ranks.
randomness = dict(seed=0, diff_rank_seed=True)
