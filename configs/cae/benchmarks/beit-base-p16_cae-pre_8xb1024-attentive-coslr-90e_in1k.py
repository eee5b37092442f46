# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Attentive probing of CAE-base on ImageNet-1K: the authors' recipe.

They report 74.0 % with their encoder of 300 epochs, normalized by the
statistics of the validation batches. Here the evaluation uses BatchNorm's
running statistics.

8 GPUs x 1024 images are a batch of 8192, and 156 steps an epoch. With less
memory, accumulate: `train_dataloader.batch_size=256
optim_wrapper.accumulative_counts=4`.
"""

_base_ = [
    '../../_base_/datasets/imagenet_probe_224.py',
    '../../_base_/schedules/attentive_90e.py',
    '../../_base_/default_runtime.py',
]

# --cfg-options checkpoint=PATH names another encoder (README.md).
checkpoint = (
    'work_dirs/cae_beit-base-p16_8xb256-amp-coslr-300e_in1k/epoch_300.pth'
)

batch_size = 1024
train_dataloader = dict(batch_size=batch_size)

model = dict(
    type='mmpretrain.ImageClassifier',
    backbone=dict(
        type='mmcae.CAEViT',
        arch='base',
        img_size=224,
        patch_size=16,
        out_type='raw',  # class token and patches
        final_norm=True,
        use_rel_pos_bias=False,
        drop_path_rate=0.0,
        layer_scale_init_value=0.1,
        weight_init='xavier',
        frozen_stages=12,  # all blocks, with patch embedding and final norm
        init_cfg=dict(
            type='Pretrained', checkpoint=checkpoint, prefix='backbone.'
        ),
    ),
    head=dict(
        type='mmcae.AttentiveProbeHead',
        num_classes=1000,
        in_channels=768,
        num_heads=12,
        loss=dict(type='mmpretrain.CrossEntropyLoss', loss_weight=1.0),
    ),
)

custom_hooks = [
    # Each GPU trains with the statistics of its own batch. After an epoch the
    # running statistics are averaged, so that all GPUs evaluate and save the
    # same model.
    dict(type='SyncBuffersHook'),
    dict(type='mmcae.DataHealthHook'),
    dict(type='mmcae.ProbeSummaryHook'),
]

randomness = dict(seed=0, diff_rank_seed=True)
