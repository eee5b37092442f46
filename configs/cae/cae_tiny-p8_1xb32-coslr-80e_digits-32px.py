# A CAE that a CPU trains in about two minutes: the 8x8 digits that ship with
# scikit-learn, at 32 px, as a folder of images. `make demo` runs it.
#
# Small CAEs learn from many small steps, block masks and an alignment weight
# of 1; with the large recipe's values they do not (docs: tokenizers).
_base_ = '../_base_/default_runtime.py'

data_root = 'data/digits/train'
tokenizer = 'work_dirs/dvae_f8-k64_1xb32-13e_digits-32px/epoch_13.pth'
batch_size, lr, max_epochs, warmup_epochs = 32, 2e-3, 80, 3
image_size, patch_size, width, vocab_size = 32, 8, 64, 64

grid = (image_size // patch_size, image_size // patch_size)
num_masked = grid[0] * grid[1] // 2

train_pipeline = [
    dict(type='mmcae.LoadImage'),
    dict(
        type='mmcae.TwoViewResize',
        size=image_size,
        second_size=image_size,
        second_interpolation='bicubic'),
    dict(
        type='mmcae.BlockMaskGenerator',
        input_size=grid,
        num_masking_patches=num_masked,
        min_num_patches=2),
    dict(type='mmpretrain.PackInputs'),
]

train_dataloader = dict(
    batch_size=batch_size,
    num_workers=0,
    drop_last=True,
    sampler=dict(type='mmcae.SeededSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='mmcae.FolderDataset',
        data_root=data_root,
        cache=True,
        pipeline=train_pipeline))

model = dict(
    type='mmcae.CAE',
    data_preprocessor=dict(
        type='mmcae.CAEDataPreprocessor',
        mean=[76.5] * 3,
        std=[89.25] * 3,
        second_mean=[0.0] * 3,
        second_std=[255.0] * 3,
        to_rgb=True),
    backbone=dict(
        type='mmcae.CAEPretrainViT',
        arch=dict(
            embed_dims=width,
            num_layers=4,
            num_heads=2,
            feedforward_channels=4 * width),
        img_size=image_size,
        patch_size=patch_size,
        layer_scale_init_value=0.1),
    neck=dict(
        type='mmcae.CAENeck',
        num_classes=vocab_size,
        embed_dims=width,
        num_heads=2,
        regressor_depth=1,
        decoder_depth=1,
        layer_scale_init_value=0.1),
    head=dict(
        type='mmcae.CAEHead', loss=dict(type='mmcae.CAELoss', lambd=1.0)),
    target_generator=dict(
        type='mmcae.DVAE',
        vocab_size=vocab_size,
        downsample=patch_size,
        overlap=False,
        init_cfg=dict(type='Pretrained', checkpoint=tokenizer)))

optim_wrapper = dict(
    type='OptimWrapper',
    constructor='mmcae.MergedOptimWrapperConstructor',
    optimizer=dict(
        type='AdamW',
        lr=lr,
        betas=(0.9, 0.999),
        weight_decay=0.05,
        fused=True),
    clip_grad=dict(max_norm=3.0),
    paramwise_cfg=dict(
        norm_decay_mult=0.0, bias_decay_mult=0.0, flat_decay_mult=0.0))

param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-6,
        end=warmup_epochs,
        convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR',
        eta_min=0.0,
        begin=warmup_epochs,
        end=max_epochs,
        T_max=max_epochs - warmup_epochs,
        convert_to_iter_based=True),
]

train_cfg = dict(type='mmcae.EpochBasedTrainLoop', max_epochs=max_epochs)
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=43),  # an epoch
    checkpoint=dict(
        type='mmcae.CheckpointHook', interval=max_epochs, save_optimizer=False))
randomness = dict(seed=0)
