# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""CAE-base, 300 epochs on ImageNet-1K: the authors' recipe.

98 of the 196 patches are masked, in blocks. 8 GPUs x 256 images are the
authors' batch of 2048 (they ran 32 x 64), and 625 steps an epoch.

The values are those of the authors' `scripts/cae_base_300e.sh`. A comment says
so where the script is silent and their code decides.
"""

_base_ = [
    '../_base_/models/cae_beit-base-p16.py',
    '../_base_/datasets/imagenet_cae_224.py',
    '../_base_/default_runtime.py',
]

max_epochs, warmup_epochs = 300, 10

optim_wrapper = dict(
    type='mmcae.AmpOptimWrapper',  # float16 on a GPU, bfloat16 on a CPU
    loss_scale='dynamic',
    constructor='mmcae.MergedOptimWrapperConstructor',
    optimizer=dict(
        type='AdamW',
        lr=1.5e-3,  # the peak at a batch of 2048, used as written
        betas=(0.9, 0.999),  # the default of their code
        weight_decay=0.05,
        fused=True,  # one kernel updates all tensors; values stay the same
    ),
    clip_grad=dict(max_norm=3.0),  # L2 norm over all gradients
    # Their code does not decay vectors (norms, biases, layer scales). It does
    # decay the class token and the mask token.
    paramwise_cfg=dict(
        norm_decay_mult=0.0, bias_decay_mult=0.0, flat_decay_mult=0.0
    ),
)
# With --auto-scale-lr, lr is multiplied by the actual batch / 2048.
auto_scale_lr = dict(base_batch_size=2048)

# The learning rate changes at each iteration: it rises linearly to the peak,
# from a millionth of it (in their code from 0), then falls as half a cosine
# to 1e-5.
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
        eta_min=1e-5,
        begin=warmup_epochs,
        end=max_epochs,
        T_max=max_epochs - warmup_epochs,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]

train_cfg = dict(type='mmcae.EpochBasedTrainLoop', max_epochs=max_epochs)

default_hooks = dict(
    logger=dict(interval=50),  # iterations
    checkpoint=dict(interval=10, max_keep_ckpts=3),  # epochs
)

# Drop path differs between processes. Crops and masks do not depend on the
# process: they are drawn from (seed, epoch, index of the image).
randomness = dict(seed=0, diff_rank_seed=True)
