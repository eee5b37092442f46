# A tokenizer for crops of 48 px of digits on photographs: 128 words, 8 px a
# token.
#
#     python tools/dataset_converters/tiny_ade.py data/scenes \
#         --train 1024 --val 0 --seed 100
#     python tools/train.py \
#         configs/tokenizer/dvae_f8-k128_1xb32-30e_scenes-48px.py
_base_ = './dvae_f8-k64_1xb32-13e_digits-32px.py'

data_root = 'data/scenes/images/training'
max_epochs = 30  # of 32 steps

pipeline = _base_.pipeline
pipeline[1].update(size=48, scale=(0.1, 0.35), ratio=(0.8, 1.25))
train_dataloader = dict(
    dataset=dict(data_root=data_root, pipeline=pipeline))

model = dict(
    vocab_size=128,
    pixel_mean=(0.46, 0.44, 0.39),  # of the scenes' pixels in [0, 1]
    pixel_std=(0.34, 0.27, 0.29))

param_scheduler = _base_.param_scheduler
param_scheduler[1].update(begin=max_epochs // 2, end=max_epochs)
train_cfg = dict(max_epochs=max_epochs)
default_hooks = dict(
    logger=dict(interval=32), checkpoint=dict(interval=max_epochs))
