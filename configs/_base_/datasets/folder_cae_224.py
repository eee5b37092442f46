# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Any folder of images for CAE: 224 px for the encoder, 112 px for tokens.

Set the folder with `tools/train.py ... --cfg-options data_root=PATH`.
"""

_base_ = ['./imagenet_cae_224.py']

data_root = 'data/images'

train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='mmcae.FolderDataset',
        data_root=data_root,
        pipeline=_base_.train_pipeline,
    ),
)
