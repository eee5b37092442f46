# Linear probing of CAE-large on ImageNet-1K with several learning rates at
# once, as for base.
_base_ = './beit-base-p16_cae-pre_8xb2048-linear-sweep-coslr-90e_in1k.py'

# The encoder to measure, in any format (ours, the authors', OpenMMLab's):
#
#   python tools/train.py CONFIG \
#       --cfg-options checkpoint=PATH
checkpoint = (
    'work_dirs/cae_beit-large-p16_32xb64-amp-coslr-1600e_in1k/epoch_1600.pth')

model = dict(
    backbone=dict(
        arch='large',
        layer_scale_init_value=1e-5,
        weight_init='beit',
        frozen_stages=24,
        init_cfg=dict(checkpoint=checkpoint)),
    neck=dict(input_features=1024),
    head=dict(in_channels=1024))
