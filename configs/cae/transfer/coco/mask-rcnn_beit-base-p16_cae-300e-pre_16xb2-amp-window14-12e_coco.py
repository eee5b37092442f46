# For small cards: blocks 3, 6, 9 and 12 attend everywhere, the others in
# windows of 14 x 14 patches, the grid of the pretraining. Not the authors'
# recipe; no result is known.
_base_ = './mask-rcnn_beit-base-p16_cae-300e-pre_16xb2-amp-12e_coco.py'

model = dict(backbone=dict(window_size=14))
