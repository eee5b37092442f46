# The authors' optimizer at a total batch of 2048 (learning rate as written,
# not scaled; --auto-scale-lr scales it to another batch).
optim_wrapper = dict(
    type='mmcae.AmpOptimWrapper',  # float16 on a GPU, bfloat16 on a CPU
    loss_scale='dynamic',
    constructor='mmcae.MergedOptimWrapperConstructor',
    optimizer=dict(
        type='AdamW', lr=1.5e-3, betas=(0.9, 0.999), weight_decay=0.05,
        fused=True),
    clip_grad=dict(max_norm=3.0),
    # No decay for vectors (norms, biases, layer scales). The class token and
    # the mask token are decayed, as by the authors.
    paramwise_cfg=dict(
        norm_decay_mult=0.0, bias_decay_mult=0.0, flat_decay_mult=0.0))

auto_scale_lr = dict(base_batch_size=2048)
