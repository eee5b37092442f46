# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""`FeaturePyramid`: four scales, mmsegmentation's names."""

import pytest
import torch
from helpers.recordings import relative_error

from mmcae.models import FeaturePyramid


def features(*size):
    return [torch.randn(2, 8, *size) for _ in range(4)]


@pytest.mark.parametrize('patch_size', [16, 8])
def test_forward__equals_mmsegs_with_its_weights(patch_size):
    from mmseg.models.necks import Feature2Pyramid

    rescales = [4, 2, 1, 0.5] if patch_size == 16 else [2, 1, 0.5, 0.25]
    theirs = Feature2Pyramid(8, rescales)
    ours = FeaturePyramid(8, patch_size=patch_size)
    ours.load_state_dict(theirs.state_dict())
    inputs = features(4, 8)
    outputs = ours(inputs)
    for one, two in zip(outputs, theirs(inputs), strict=True):
        assert relative_error(one, two) < 1e-6
    image = 4 * patch_size, 8 * patch_size
    for stride, output in zip(ours.strides, outputs, strict=True):
        assert output.shape == (2, 8, image[0] // stride, image[1] // stride)


@pytest.mark.parametrize('norm', ['SyncBN', 'BN'])
def test_forward__trains_in_one_process_on_the_cpu(norm):
    neck = FeaturePyramid(8, norm_cfg=dict(type=norm)).train()
    sum(level.sum() for level in neck(features(2, 2))).backward()
    assert neck.upsample_4x[1].num_batches_tracked == 1
    for parameter in neck.parameters():
        assert parameter.grad is not None


def test_forward__odd_grids_keep_their_last_row_and_column():
    inputs = features(3, 1)
    coarsest = FeaturePyramid(8)(inputs)[3]
    assert coarsest.shape == (2, 8, 2, 1)
    assert torch.equal(coarsest[:, :, 1, 0], inputs[3][:, :, 2, 0])


def test_forward__needs_four_levels():
    with pytest.raises(ValueError, match='four out_indices'):
        FeaturePyramid(8)(features(4, 4)[:3])


def test_init__names_a_patch_size_without_pyramid():
    with pytest.raises(ValueError, match='got 14'):
        FeaturePyramid(8, patch_size=14)


@pytest.mark.parametrize('library', ['mmseg', 'mmdet', 'mmpretrain'])
def test_registry__is_found_from_other_libraries(library):
    import importlib

    # Without compiled operators mmdet cannot be imported.
    pytest.importorskip(f'{library}.models')
    registry = importlib.import_module(f'{library}.registry').MODELS
    config = dict(type='mmcae.FeaturePyramid', embed_dims=8)
    assert isinstance(registry.build(config), FeaturePyramid)


def test_forward__stands_before_the_fpn_of_mmdet():
    pytest.importorskip('mmdet.models')
    from mmdet.registry import MODELS

    neck = MODELS.build(
        [
            dict(type='mmcae.FeaturePyramid', embed_dims=8),
            dict(
                type='mmdet.FPN',
                in_channels=[8] * 4,
                out_channels=4,
                num_outs=5,
            ),
        ]
    )
    sizes = [tuple(level.shape[2:]) for level in neck(features(5, 7))]
    assert sizes == [(20, 28), (10, 14), (5, 7), (3, 4), (2, 2)]
