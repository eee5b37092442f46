# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""A patch embedding for another number of channels."""

import pytest
import torch
import torch.nn.functional as F

from mmcae.checkpoint.patch_channels import (
    adapt_patch_channels,
    describe_adaption,
)


@pytest.mark.parametrize('given', [1, 2, 3, 4])
@pytest.mark.parametrize('channels', range(1, 17))
def test_patch_channels__equal_channels_give_equal_features(given, channels):
    weight = torch.randn(5, given, 4, 4)
    gray = torch.randn(2, 1, 8, 8)
    before = F.conv2d(gray.expand(-1, given, -1, -1), weight, stride=4)
    adapted = adapt_patch_channels(weight, channels)
    assert adapted.shape == (5, channels, 4, 4)
    after = F.conv2d(gray.expand(-1, channels, -1, -1), adapted, stride=4)
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)


def test_patch_channels__are_repeated_cyclically_and_share():
    weight = torch.randn(2, 3, 1, 1)
    red, green, blue = weight.unbind(1)
    four = adapt_patch_channels(weight, 4)
    expected = torch.stack([red / 2, green, blue, red / 2], dim=1)
    assert torch.equal(four, expected)
    two = adapt_patch_channels(weight, 2)
    assert torch.equal(two, torch.stack([red + blue, green], dim=1))
    # There and back again.
    assert torch.equal(adapt_patch_channels(four, 3)[:, 1], green)


def test_patch_channels__weight_that_fits_is_not_copied():
    weight = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    assert adapt_patch_channels(weight, 3) is weight
    assert adapt_patch_channels(weight, 6).dtype == torch.float64


def test_patch_channels__are_described():
    assert describe_adaption(3, 1) == '3 channels added up to 1'
    assert describe_adaption(1, 4) == (
        '1 channel repeated to 4, copies share their weight'
    )


@pytest.mark.parametrize(
    ('shape', 'channels', 'words'),
    [
        ((4, 3), 4, r'is \(D, C, h, w\), got \(4, 3\)'),
        ((4, 3, 2, 2), 0, 'channels=0: must be from 1 to 16'),
        ((4, 3, 2, 2), 17, 'channels=17: must be from 1 to 16'),
    ],
)
def test_patch_channels__mistakes(shape, channels, words):
    with pytest.raises(ValueError, match=words):
        adapt_patch_channels(torch.zeros(shape), channels)
