# Mask R-CNN on COCO from the encoder of 300 epochs: the authors' recipe (48.3
# box AP, 42.7 mask AP). 16 GPUs x 2 = 32.
#
# The encoder to start from, in any format (ours, the authors', OpenMMLab's):
#
#   python tools/train.py CONFIG --cfg-options checkpoint=PATH
checkpoint = (
    'work_dirs/cae_beit-base-p16_8xb256-amp-coslr-300e_in1k/epoch_300.pth')

_base_ = [
    '../../../_base_/models/mask-rcnn_beit-base-p16.py',
    '../../../_base_/datasets/coco_instance_cae.py',
    '../../../_base_/schedules/mask-rcnn_adamw_12e.py',
    '../../../_base_/detection_runtime.py',
]

model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained', checkpoint=checkpoint, prefix='backbone.')))
