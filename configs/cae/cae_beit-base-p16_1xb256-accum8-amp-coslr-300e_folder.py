# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""CAE-base on any folder of images, without labels.

    python tools/train.py CONFIG --cfg-options data_root=PATH

This is the authors' ImageNet recipe for one GPU: the gradients of 8 batches of
256 images are accumulated to the batch of 2048.
"""

_base_ = './cae_beit-base-p16_8xb256-amp-coslr-300e_in1k.py'

data_root = 'data/images'
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='mmcae.FolderDataset',
        data_root=data_root,
        pipeline=_base_.train_pipeline,
    )
)

optim_wrapper = dict(accumulative_counts=8)
# mmengine compares this with the batch of one iteration, before accumulation.
auto_scale_lr = dict(base_batch_size=256)
