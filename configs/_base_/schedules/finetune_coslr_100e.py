# The authors' fine-tuning of the base size: 100 epochs at a total batch of
# 4096. A config sets `accumulative_counts` so that processes x batch x count
# is 4096; the learning rate belongs to that batch and is not scaled.
max_epochs, warmup_epochs = 100, 5
peak_lr, floor_lr = 8e-3, 1e-6

optim_wrapper = dict(
    type='mmcae.AmpOptimWrapper',  # float16 on a GPU, bfloat16 on a CPU
    loss_scale='dynamic',
    constructor='mmcae.LayerDecayOptimWrapperConstructor',
    optimizer=dict(
        type='AdamW', lr=peak_lr, betas=(0.9, 0.999), eps=1e-8,
        weight_decay=0.05),
    # No gradient clip. No decay for vectors (norms, biases, layer scales), the
    # class token and positions; the relative position tables are decayed.
    paramwise_cfg=dict(
        layer_decay_rate=0.65,
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        flat_decay_mult=0.0,
        custom_keys={
            '.cls_token': dict(decay_mult=0.0),
            '.pos_embed': dict(decay_mult=0.0),
        }))

# Per iteration, i.e. also between two accumulated updates: at the same share
# of the training the learning rate is the authors'. The floor is a ratio, so
# that it is scaled by the layer decay like everything above it.
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
        eta_min_ratio=floor_lr / peak_lr,
        begin=warmup_epochs,
        end=max_epochs,
        T_max=max_epochs - warmup_epochs,
        by_epoch=True,
        convert_to_iter_based=True),
]

train_cfg = dict(
    type='mmcae.EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=1)
val_cfg = dict()
test_cfg = dict()
