# The authors' fine-tuning of the large size: 50 epochs, a lower peak, layer
# decay .75; otherwise as the base size.
_base_ = './finetune_coslr_100e.py'

max_epochs, warmup_epochs = 50, 5
peak_lr, floor_lr = 2e-3, 1e-6

optim_wrapper = dict(
    optimizer=dict(lr=peak_lr), paramwise_cfg=dict(layer_decay_rate=0.75))

param_scheduler = _base_.param_scheduler
param_scheduler[1].update(
    eta_min_ratio=floor_lr / peak_lr,
    end=max_epochs,
    T_max=max_epochs - warmup_epochs)

train_cfg = dict(max_epochs=max_epochs)
