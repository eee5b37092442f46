# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""`CAEDataPreprocessor` against mmpretrain's."""

import pytest
import torch
from mmengine.registry import MODELS
from mmpretrain.structures import DataSample

NORMS = dict(
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    second_mean=[-31.875] * 3,
    second_std=[318.75, 300.0, 255.0],
)


@pytest.mark.parametrize('to_rgb', [True, False])
def test_forward__images_equal_those_of_mmpretrain(to_rgb):
    torch.manual_seed(0)
    views = [
        torch.randint(256, (2, 3, side, side), dtype=torch.uint8)
        for side in (32, 16)
    ]
    samples = [DataSample(mask=torch.ones(4, 4)) for _ in range(2)]
    data = dict(inputs=views, data_samples=samples)
    ours, theirs = (
        MODELS.build(dict(type=kind, to_rgb=to_rgb, **NORMS))(data, True)
        for kind in (
            'mmcae.CAEDataPreprocessor',
            'mmpretrain.TwoNormDataPreprocessor',
        )
    )
    assert set(ours) == set(theirs)
    for one, two in zip(ours['inputs'], theirs['inputs'], strict=True):
        assert one.dtype == torch.float32
        assert torch.equal(one, two)


def test_forward__samples_stay_on_the_host():
    preprocessor = MODELS.build(
        dict(type='mmcae.CAEDataPreprocessor', **NORMS)
    )
    sample = DataSample(mask=torch.ones(4, 4))
    views = [torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 4, 4)]
    preprocessor.to('meta')
    data = preprocessor(dict(inputs=views, data_samples=[sample]))
    assert data['data_samples'][0] is sample
    assert sample.mask.device.type == 'cpu'
    assert data['inputs'][0].device.type == 'meta'


@pytest.mark.parametrize('number', [1, 3])
def test_forward__raises_unless_there_are_two_views(number):
    preprocessor = MODELS.build(
        dict(type='mmcae.CAEDataPreprocessor', **NORMS)
    )
    view = torch.zeros(2, 3, 8, 8)
    views = view if number == 1 else [view] * number
    with pytest.raises(ValueError, match=f'two views .* got {number}'):
        preprocessor(dict(inputs=views, data_samples=[]))
