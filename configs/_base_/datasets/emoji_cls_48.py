# Labelled emoji (tools/dataset_converters/emoji.py), as the tiny CAE sees
# them.
_base_ = './digits_cls_32.py'

data_root = 'data/emoji'

data_preprocessor = dict(
    num_classes=9, mean=[204.0, 191.3, 178.5], std=[76.5, 74.0, 86.7])

test_pipeline = _base_.pipeline
test_pipeline[1].update(scale=48)
train_pipeline = [
    *test_pipeline[:2],
    dict(type='mmcae.RandomFlip', prob=0.5),
    test_pipeline[2],
]

train_dataloader = dict(
    dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(
    dataset=dict(data_root=data_root, pipeline=test_pipeline))
test_dataloader = val_dataloader
