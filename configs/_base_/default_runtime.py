# Hooks, environment and logs shared by all configs.
_base_ = 'mmpretrain::_base_/default_runtime.py'

default_hooks = dict(
    runtime_info=dict(type='mmcae.RuntimeInfoHook'),
    logger=dict(type='LoggerHook', interval=50),
    checkpoint=dict(
        type='mmcae.CheckpointHook', interval=10, max_keep_ckpts=3))

# Names the tokenizer in each checkpoint (its weights are not stored there)
# and counts unreadable images.
custom_hooks = [
    dict(type='mmcae.TokenizerRecordHook'),
    dict(type='mmcae.DataHealthHook'),
    dict(type='mmcae.SignalHook'),
]

# Printed training numbers are means over the last 50 iterations; those of a
# validation are its own.
log_processor = dict(
    window_size=50,
    mean_pattern=r'.*(loss|time|grad_norm)|'
    r'(train/)?(main|align|acc|acc_position|cosine|latent_std|psnr)$')
