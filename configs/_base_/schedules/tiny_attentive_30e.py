# Attentive probing of tiny encoders, as tiny_linear_30e.py.
_base_ = './attentive_90e.py'

max_epochs, warmup_epochs = 30, 3

optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    constructor='mmcae.MergedOptimWrapperConstructor',
    optimizer=dict(_base_.optim_wrapper.optimizer, lr=0.1))
auto_scale_lr = dict(base_batch_size=64)

param_scheduler = _base_.param_scheduler
param_scheduler[0].update(end=warmup_epochs)
param_scheduler[1].update(
    begin=warmup_epochs, end=max_epochs, T_max=max_epochs - warmup_epochs)
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
