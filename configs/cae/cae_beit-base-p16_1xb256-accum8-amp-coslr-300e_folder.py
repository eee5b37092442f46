# CAE-base on any folder of images, without labels:
#
#   python tools/train.py CONFIG --cfg-options data_root=PATH
#
# The authors' recipe on one GPU: gradients of 8 batches of 256 are
# accumulated to their batch of 2048.
_base_ = [
    '../_base_/models/cae_beit-base-p16.py',
    '../_base_/datasets/folder_cae_224.py',
    '../_base_/schedules/cae_adamw_bs2048.py',
    '../_base_/schedules/cae_coslr_300e.py',
    '../_base_/default_runtime.py',
]

data_root = 'data/images'
train_dataloader = dict(dataset=dict(data_root=data_root))

optim_wrapper = dict(accumulative_counts=8)
# What --auto-scale-lr compares with is the batch of one iteration.
auto_scale_lr = dict(base_batch_size=256)

randomness = dict(seed=0, diff_rank_seed=True)
