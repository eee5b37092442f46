# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""`FeaturePyramid`: four scales, mmsegmentation's names."""

import pytest
import torch
import torch.nn.functional as F
from helpers.recordings import relative_error

from mmcae.models import FeaturePyramid


def features(*size):
    return [torch.randn(2, 8, *size) for _ in range(4)]


@pytest.mark.parametrize('patch_size', [16, 8])
def test_forward__equals_mmsegs_with_its_weights(patch_size, subtests):
    from mmseg.models.necks import Feature2Pyramid

    rescales = [4, 2, 1, 0.5] if patch_size == 16 else [2, 1, 0.5, 0.25]
    theirs = Feature2Pyramid(8, rescales)
    ours = FeaturePyramid(8, patch_size=patch_size)
    ours.load_state_dict(theirs.state_dict())
    for grid in ((4, 8), (7, 7), (5, 9)):
        with subtests.test(grid=grid):
            inputs = features(*grid)
            outputs = ours(inputs)
            for one, two in zip(outputs, theirs(inputs), strict=True):
                assert relative_error(one, two) < 1e-6
            image = [side * patch_size for side in grid]
            for stride, output in zip(ours.strides, outputs, strict=True):
                sides = (side // stride for side in image)
                assert output.shape == (2, 8, *sides)


@pytest.mark.parametrize('norm', ['SyncBN', 'BN'])
def test_forward__trains_in_one_process_on_the_cpu(norm):
    neck = FeaturePyramid(8, norm_cfg=dict(type=norm)).train()
    sum(level.sum() for level in neck(features(2, 2))).backward()
    assert neck.upsample_4x[1].num_batches_tracked == 1
    for parameter in neck.parameters():
        assert parameter.grad is not None


@pytest.mark.parametrize(
    ('grid', 'rounded_down', 'rounded_up'),
    [((7, 7), (3, 3), (4, 4)), ((3, 5), (1, 2), (2, 3))],
)
def test_forward__odd_grids_are_rounded_as_the_authors_do(
    grid, rounded_down, rounded_up
):
    inputs = features(*grid)
    coarsest = FeaturePyramid(8)(inputs)[3]
    assert coarsest.shape[2:] == rounded_down
    # The authors' code has `MaxPool2d(kernel_size=2, stride=2)`.
    assert torch.equal(coarsest, F.max_pool2d(inputs[3], 2, 2))
    larger = FeaturePyramid(8, ceil_mode=True)(inputs)[3]
    assert larger.shape[2:] == rounded_up
    assert torch.equal(larger[:, :, -1, -1], inputs[3][:, :, -1, -1])


@pytest.mark.parametrize(('patch_size', 'grid'), [(16, (1, 13)), (8, (12, 3))])
def test_forward__refuses_a_grid_that_is_too_small(patch_size, grid):
    inputs = features(*grid)
    with pytest.raises(ValueError, match='ceil_mode=True') as error:
        FeaturePyramid(8, patch_size=patch_size)(inputs)
    assert f'{grid[0]} x {grid[1]}' in str(error.value)
    levels = FeaturePyramid(8, patch_size=patch_size, ceil_mode=True)(inputs)
    assert min(levels[3].shape[2:]) == 1


def test_forward__needs_four_feature_maps():
    with pytest.raises(ValueError, match='four out_indices'):
        FeaturePyramid(8)(features(4, 4)[:3])


def test_init__refuses_other_patch_sizes():
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


@pytest.mark.parametrize(
    ('ceil_mode', 'coarsest'),
    [(False, [(2, 3), (1, 2)]), (True, [(3, 4), (2, 2)])],
)
def test_forward__feeds_the_fpn_of_mmdet(ceil_mode, coarsest):
    pytest.importorskip('mmdet.models')
    from mmdet.registry import MODELS

    neck = MODELS.build(
        [
            dict(
                type='mmcae.FeaturePyramid', embed_dims=8, ceil_mode=ceil_mode
            ),
            dict(
                type='mmdet.FPN',
                in_channels=[8] * 4,
                out_channels=4,
                num_outs=5,
            ),
        ]
    )
    sizes = [tuple(level.shape[2:]) for level in neck(features(5, 7))]
    assert sizes == [(20, 28), (10, 14), (5, 7), *coarsest]


@pytest.mark.parametrize('patch_size', [16, 8])
@pytest.mark.parametrize('ceil_mode', [False, True])
def test_forward__feeds_the_head_of_mmseg(ceil_mode, patch_size):
    from mmseg.registry import MODELS

    norm_cfg = dict(type='BN')
    pyramid = FeaturePyramid(8, norm_cfg, patch_size, ceil_mode)
    head = MODELS.build(
        dict(
            type='mmseg.UPerHead',
            in_channels=[8] * 4,
            in_index=[0, 1, 2, 3],
            channels=8,
            num_classes=3,
            norm_cfg=norm_cfg,
        )
    )
    logits = head(pyramid(features(5, 7)))
    scale = patch_size // pyramid.strides[0]
    assert logits.shape == (2, 3, 5 * scale, 7 * scale)
    logits.sum().backward()
    assert not any(p.grad is None for p in pyramid.parameters())
