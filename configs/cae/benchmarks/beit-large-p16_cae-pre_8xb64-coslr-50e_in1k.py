# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Fine-tuning of CAE-large on ImageNet-1K: the authors' recipe.

They report 86.2 % with their encoder of 1600 epochs. 8 GPUs x 64 images x 8
accumulated batches are a batch of 4096.
"""

_base_ = './beit-base-p16_cae-pre_8xb128-coslr-100e_in1k.py'

checkpoint = (
    'work_dirs/cae_beit-large-p16_32xb64-amp-coslr-1600e_in1k/epoch_1600.pth'
)

max_epochs, warmup_epochs = 50, 5
peak_lr, floor_lr = 2e-3, 1e-6

model = dict(
    # Layer scales come from the checkpoint; in pretraining they started at
    # 1e-5.
    backbone=dict(
        arch='large',
        drop_path_rate=0.2,
        layer_scale_init_value=1e-5,
        weight_init='beit',
        init_cfg=dict(checkpoint=checkpoint),
    ),
    head=dict(in_channels=1024),
)

train_dataloader = dict(batch_size=64)
val_dataloader = dict(batch_size=96)
test_dataloader = dict(batch_size=96)

optim_wrapper = dict(
    optimizer=dict(lr=peak_lr),
    paramwise_cfg=dict(layer_decay_rate=0.75),
    accumulative_counts=8,
)
# mmengine compares this with the batch of one iteration, before accumulation.
auto_scale_lr = dict(base_batch_size=512)

param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-6,
        begin=0,
        end=warmup_epochs,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        eta_min_ratio=floor_lr / peak_lr,
        begin=warmup_epochs,
        end=max_epochs,
        T_max=max_epochs - warmup_epochs,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]

train_cfg = dict(max_epochs=max_epochs)
