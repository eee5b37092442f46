# UPerNet on ADE20K from the encoder of 800 epochs: the authors' recipe (49.7
# mIoU). 8 GPUs x 2 = 16.
_base_ = './upernet_beit-base-p16_cae-300e-pre_8xb2-amp-160k_ade20k-512x512.py'

checkpoint = (
    'work_dirs/cae_beit-base-p16_8xb256-amp-coslr-800e_in1k/epoch_800.pth')

model = dict(backbone=dict(init_cfg=dict(checkpoint=checkpoint)))

optim_wrapper = dict(optimizer=dict(lr=2e-4))
