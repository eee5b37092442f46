# CAE-base, 300 epochs on ImageNet-1K: the authors' recipe.
# 98 of 196 patches masked in blocks, drop path 0.1, 8 GPUs x 256 = 2048.
_base_ = [
    '../_base_/models/cae_beit-base-p16.py',
    '../_base_/datasets/imagenet_cae_224.py',
    '../_base_/schedules/cae_adamw_bs2048.py',
    '../_base_/default_runtime.py',
]

max_epochs, warmup_epochs = 300, 10

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs)

# Per iteration: linear from 0 to the peak, then half a cosine to the floor.
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-6,
        begin=0,
        end=warmup_epochs,
        by_epoch=True,
        convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR',
        eta_min=1e-5,
        begin=warmup_epochs,
        end=max_epochs,
        T_max=max_epochs - warmup_epochs,
        by_epoch=True,
        convert_to_iter_based=True),
]

# Drop path differs between ranks; crops and masks depend on the sample alone.
randomness = dict(seed=0, diff_rank_seed=True)
