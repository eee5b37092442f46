# Fine-tuning of tiny encoders: four blocks, hence a mild layer decay.
_base_ = './finetune_coslr_100e.py'

max_epochs, warmup_epochs = 30, 3

optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    constructor='mmcae.LayerDecayOptimWrapperConstructor',
    optimizer=dict(_base_.optim_wrapper.optimizer, lr=2e-3),
    paramwise_cfg=dict(
        _base_.optim_wrapper.paramwise_cfg, layer_decay_rate=0.75))

param_scheduler = _base_.param_scheduler
param_scheduler[0].update(end=warmup_epochs)
param_scheduler[1].update(
    begin=warmup_epochs, end=max_epochs, T_max=max_epochs - warmup_epochs)
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
