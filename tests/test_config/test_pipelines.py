# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Transforms in the config of a training."""

import pytest

from mmcae.config.pipelines import training_transform

LOAD = dict(type='mmcae.LoadImage', channels=4)
DATASET = dict(type='A', pipeline=[dict(type='Other'), LOAD])


@pytest.mark.parametrize(
    'dataset',
    [
        DATASET,
        dict(type='Repeat', dataset=DATASET),
        dict(type='Concat', datasets=[dict(type='B'), DATASET]),
        dict(type='A', pipeline=(None, 'LoadImage', LOAD)),
    ],
)
def test_training_transform__is_found_in_every_dataset(dataset):
    config = dict(train_dataloader=dict(dataset=dataset))
    assert training_transform(config, 'LoadImage') == LOAD
    assert training_transform(config, 'Crop') == {}


@pytest.mark.parametrize(
    'loader', [None, 3, 'LoadImage', [], dict(dataset=[1]), dict(dataset={})]
)
def test_training_transform__of_anything_else_is_empty(loader):
    assert training_transform(dict(train_dataloader=loader), 'Load') == {}
    assert training_transform({}, 'Load') == {}
