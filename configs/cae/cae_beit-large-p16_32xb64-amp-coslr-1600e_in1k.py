# CAE-large, 1600 epochs on ImageNet-1K: the authors' recipe as intended.
# 32 GPUs x 64 = 2048.
_base_ = [
    '../_base_/models/cae_beit-large-p16.py',
    '../_base_/datasets/imagenet_cae_224.py',
    '../_base_/schedules/cae_adamw_bs2048.py',
    '../_base_/schedules/cae_coslr_1600e.py',
    '../_base_/default_runtime.py',
]

batch_size = 64
train_dataloader = dict(batch_size=batch_size)

# Drop path differs between ranks; crops and masks depend on the sample alone.
randomness = dict(seed=0, diff_rank_seed=True)
