# Hooks, environment and logs shared by all configs.
_base_ = 'mmpretrain::_base_/default_runtime.py'

default_hooks = dict(
    logger=dict(type='LoggerHook', interval=50),
    checkpoint=dict(
        type='CheckpointHook', interval=10, max_keep_ckpts=3))

# Names the tokenizer in each checkpoint (its weights are not stored there)
# and counts unreadable images.
custom_hooks = [
    dict(type='mmcae.TokenizerRecordHook'),
    dict(type='mmcae.DataHealthHook'),
]

# Printed numbers are means over the last 50 iterations.
log_processor = dict(
    window_size=50,
    mean_pattern=r'.*(loss|time|grad_norm|main|align|acc|cosine|std|psnr).*')
