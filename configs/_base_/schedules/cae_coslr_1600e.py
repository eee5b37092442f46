# As the 300-epoch schedule, with 1600 epochs and 40 of warm-up.
_base_ = './cae_coslr_300e.py'

max_epochs, warmup_epochs = 1600, 40

train_cfg = dict(max_epochs=max_epochs)

param_scheduler = _base_.param_scheduler
param_scheduler[0].update(end=warmup_epochs)
param_scheduler[1].update(
    begin=warmup_epochs, end=max_epochs, T_max=max_epochs - warmup_epochs)
