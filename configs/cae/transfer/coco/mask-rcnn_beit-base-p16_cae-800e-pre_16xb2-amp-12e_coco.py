# Mask R-CNN on COCO from the encoder of 800 epochs: the authors' recipe (49.9
# box AP, 43.9 mask AP). 16 GPUs x 2 = 32.
_base_ = './mask-rcnn_beit-base-p16_cae-300e-pre_16xb2-amp-12e_coco.py'

checkpoint = (
    'work_dirs/cae_beit-base-p16_8xb256-amp-coslr-800e_in1k/epoch_800.pth')

model = dict(backbone=dict(init_cfg=dict(checkpoint=checkpoint)))
