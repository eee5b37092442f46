# UPerNet on ADE20K from the encoder of 300 epochs: the authors' recipe (48.1
# mIoU). 8 GPUs x 2 = 16.
#
# The encoder to start from, in any format (ours, the authors', OpenMMLab's):
#
#   python tools/train.py CONFIG --cfg-options checkpoint=PATH
checkpoint = (
    'work_dirs/cae_beit-base-p16_8xb256-amp-coslr-300e_in1k/epoch_300.pth')

_base_ = [
    '../../../_base_/models/upernet_beit-base-p16.py',
    '../../../_base_/datasets/ade20k_512.py',
    '../../../_base_/schedules/upernet_adamw_160k.py',
    '../../../_base_/segmentation_runtime.py',
]

model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained', checkpoint=checkpoint, prefix='backbone.')))

optim_wrapper = dict(optimizer=dict(lr=3e-4))
