# Cascade Mask R-CNN on COCO with the Mask R-CNN's recipe. The authors give the
# model, but no recipe and no result for it. 16 GPUs x 2 = 32.
checkpoint = (
    'work_dirs/cae_beit-base-p16_8xb256-amp-coslr-300e_in1k/epoch_300.pth')

_base_ = [
    '../../../_base_/models/cascade-mask-rcnn_beit-base-p16.py',
    '../../../_base_/datasets/coco_instance_cae.py',
    '../../../_base_/schedules/mask-rcnn_adamw_12e.py',
    '../../../_base_/detection_runtime.py',
]

model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained', checkpoint=checkpoint, prefix='backbone.')))
