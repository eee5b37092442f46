# A CAE of digits on photographs for one CPU core: crops of 48 px of 1,024
# unlabelled scenes, for `benchmarks/transfer.py`.
#
#     python tools/dataset_converters/tiny_ade.py data/scenes \
#         --train 1024 --val 0 --seed 100
_base_ = './cae_tiny-p8_1xb32-coslr-80e_digits-32px.py'

data_root = 'data/scenes/images/training'
tokenizer = 'work_dirs/dvae_f8-k128_1xb32-30e_scenes-48px/epoch_30.pth'
max_epochs, warmup_epochs = 80, 3  # of 32 steps
image_size, patch_size, vocab_size = 48, 8, 128
grid = (image_size // patch_size, image_size // patch_size)

train_pipeline = _base_.train_pipeline
train_pipeline[1] = dict(
    type='mmcae.TwoViewRandomResizedCrop',
    size=image_size,
    second_size=image_size,
    second_interpolation='bicubic',
    # Half to one and a half times the size in the scene: a digit or so.
    scale=(0.1, 0.35),
    ratio=(0.8, 1.25))
train_pipeline[2].update(
    input_size=grid,
    num_masking_patches=grid[0] * grid[1] // 2,
    min_num_patches=3)
train_dataloader = dict(
    dataset=dict(data_root=data_root, pipeline=train_pipeline))

model = dict(
    backbone=dict(img_size=image_size),
    neck=dict(num_classes=vocab_size),
    target_generator=dict(
        vocab_size=vocab_size, init_cfg=dict(checkpoint=tokenizer)))

param_scheduler = _base_.param_scheduler
param_scheduler[0].update(end=warmup_epochs)
param_scheduler[1].update(
    begin=warmup_epochs, end=max_epochs, T_max=max_epochs - warmup_epochs)
train_cfg = dict(max_epochs=max_epochs)
default_hooks = dict(
    logger=dict(interval=32), checkpoint=dict(interval=max_epochs))
