# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""`CAEViT` as the backbone of segmentors and detectors."""

import pytest
import torch
from helpers.recordings import Recording, relative_error

from mmcae.models import CAEPretrainViT, CAEViT, FeaturePyramid
from mmcae.models.layers.relative_position import interpolate_bias_table
from mmcae.utils import from_official

ARCH = dict(embed_dims=32, num_layers=4, num_heads=4, feedforward_channels=128)
OFFICIAL_PYRAMID = {'fpn1.': 'upsample_4x.', 'fpn2.': 'upsample_2x.'}


def build(**kwargs):
    torch.manual_seed(0)
    config = dict(
        arch=ARCH,
        img_size=96,
        patch_size=16,
        out_type='featmap',
        out_indices=(0, 1, 2, 3),
    )
    model = CAEViT(**{**config, **kwargs})
    model.init_weights()
    return model


def randomize_tables(model):
    for name, parameter in model.named_parameters():
        if name.endswith('relative_position_bias_table'):
            torch.nn.init.normal_(parameter)


@pytest.fixture(scope='module')
def recording():
    return Recording('dense_tiny')


@pytest.fixture
def dense(recording):
    """Encoder and pyramid with the recording's weights."""
    state = from_official(recording.group('checkpoint'))
    state = {
        key.removeprefix('backbone.'): value
        for key, value in state.items()
        if key.startswith('backbone.')
    }
    given = recording.group('dense')
    for key, value in given.items():
        if key.endswith('bias_table'):
            state[key.replace('blocks.', 'layers.')] = value
    backbone = build()
    assert not backbone.load_state_dict(state, strict=False).missing_keys
    pyramid = FeaturePyramid(32, norm_cfg=dict(type='BN'))
    pyramid.load_state_dict(
        {
            key.replace(old, new): value
            for key, value in given.items()
            for old, new in OFFICIAL_PYRAMID.items()
            if key.startswith(old)
        }
    )
    return backbone.eval(), pyramid.eval()


def test_forward__levels_equal_the_authors(recording, dense):
    backbone, pyramid = dense
    error = relative_error(backbone.pos_embed, recording['outputs/pos_embed'])
    assert error < 1e-5
    levels = pyramid(backbone(recording['inputs/images']))
    for i, level in enumerate(levels):
        assert relative_error(level, recording[f'outputs/level{i}']) < 1e-5


@pytest.mark.parametrize('window', [None, 2])
def test_forward__any_size_gives_whole_grids(window, subtests):
    model = build(window_size=window).eval()
    for size in ((96, 96), (80, 112), (50, 33), (16, 200)):
        with subtests.test(size=size):
            grid = tuple(-(-side // 16) for side in size)
            outs = model(torch.randn(1, 3, *size))
            assert [out.shape for out in outs] == [(1, 32, *grid)] * 4
            levels = FeaturePyramid(32, ceil_mode=True)(outs)
            for stride, level in zip((4, 8, 16, 32), levels, strict=True):
                sides = (-(-side * 16 // stride) for side in grid)
                assert level.shape[2:] == tuple(sides)


def test_forward__padding_is_below_and_right():
    model = build(use_rel_pos_bias=False).eval()
    image = torch.randn(1, 3, 60, 90)
    padded = torch.nn.functional.pad(image, (0, 6, 0, 4))
    assert torch.equal(model(image)[3], model(padded)[3])


def test_embed__positions_are_resized_once_from_the_pretrained_grid():
    model = build(img_size=64)
    table = model.pos_embed[:, 1:].transpose(1, 2).unflatten(2, (4, 4))
    expected = torch.nn.functional.interpolate(
        table, size=(5, 7), mode='bicubic', align_corners=False
    )
    _, position, grid = model.embed(torch.randn(1, 3, 70, 112))
    assert grid == (5, 7)
    assert not position[:, 0].any()
    resized = position[:, 1:].transpose(1, 2).unflatten(2, grid)
    assert relative_error(resized, expected) < 1e-6


def test_forward__other_sizes_interpolate_the_relative_bias():
    model = build().eval()
    randomize_tables(model)
    images = torch.randn(1, 3, 64, 128)
    larger = build(img_size=(64, 128)).eval()
    state = model.state_dict()
    state = {
        key: interpolate_bias_table(value, (6, 6), (4, 8))
        if key.endswith('bias_table')
        else value
        for key, value in state.items()
        if not key.endswith('index')
    }
    state.pop('pos_embed')
    larger.load_state_dict(state, strict=False)
    with torch.no_grad():
        larger.pos_embed.copy_(model.embed(images)[1])
    for one, two in zip(model(images), larger(images), strict=True):
        assert relative_error(one, two) < 1e-5


def test_load__pretrained_encoder_fits_every_dense_variant():
    pretrained = CAEPretrainViT(arch=ARCH, img_size=64, patch_size=16)
    pretrained.init_weights()
    for kwargs in (
        dict(),
        dict(window_size=3),
        dict(window_size=3, use_rel_pos_bias=False),
        dict(final_norm='every'),
    ):
        model = build(**kwargs)
        result = model.load_state_dict(pretrained.state_dict(), strict=False)
        # Pretrained files have no relative position bias: it stays zero.
        for key in result.missing_keys:
            assert key.endswith('relative_position_bias_table')
            assert not model.get_parameter(key).any()
        assert set(result.unexpected_keys) <= {'ln1.weight', 'ln1.bias'}
        weight = model.layers[2].ffn.layers[1].weight
        assert torch.equal(weight, pretrained.layers[2].ffn.layers[1].weight)


def test_load__tables_are_resized_to_the_window_of_each_block():
    source = build()
    target = build(img_size=64, window_size=3, global_indices=[-1])
    randomize_tables(source)
    target.load_state_dict(source.state_dict())
    rows = [
        len(layer.attn.relative_position_bias_table) for layer in target.layers
    ]
    assert rows == [5 * 5 + 3] * 3 + [7 * 7 + 3]


def test_final_norm__every_output_or_the_last():
    images = torch.randn(1, 3, 96, 96)
    outs = {}
    for final_norm in (False, True, 'every'):
        model = build(final_norm=final_norm, use_rel_pos_bias=False).eval()
        outs[final_norm] = model(images)
    for i, plain in enumerate(outs[False]):
        normed = torch.nn.functional.layer_norm(
            plain.movedim(1, -1), (32,), eps=1e-6
        ).movedim(-1, 1)
        assert relative_error(outs['every'][i], normed) < 1e-5
        assert (
            relative_error(outs[True][i], normed if i == 3 else plain) < 1e-5
        )


@pytest.mark.parametrize('kwargs', [dict(), dict(window_size=2)])
def test_with_cp__same_output_gradients_and_random_state(kwargs):
    results = []
    images = torch.randn(8, 3, 80, 96, generator=torch.manual_seed(3))
    for with_cp in (False, True):
        model = build(
            drop_path_rate=0.5, drop_rate=0.2, with_cp=with_cp, **kwargs
        )
        randomize_tables(model)
        torch.manual_seed(5)
        outs = model.train()(images)
        sum(out.square().sum() for out in outs).backward()
        grads = [p.grad for p in model.parameters() if p.requires_grad]
        results.append([*outs, *grads, torch.rand(1)])
    for one, two in zip(*results, strict=True):
        assert torch.equal(one, two)


def test_with_cp__saves_less():
    def kept(**kwargs):
        model, sizes = build(**kwargs), {}

        def pack(tensor):
            storage = tensor.untyped_storage()
            sizes[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            outs = model(torch.randn(1, 3, 96, 96))
        del outs
        return sum(sizes.values())

    assert kept(with_cp=True) < 0.5 * kept()


def test_window_size__four_blocks_attend_everywhere():
    model = build(arch={**ARCH, 'num_layers': 12}, window_size=(2, 3))
    windows = [layer.attn.window_size for layer in model.layers]
    assert windows == [(2, 3), (2, 3), None] * 4


def test_init__bad_arguments_are_named(subtests):
    for kwargs, message in (
        (dict(window_size=0), r'got \(0, 0\)'),
        (dict(window_size=2, global_indices=[4]), 'no block 4 among 4'),
        (dict(final_norm='each'), "got 'each'"),
    ):
        with (
            subtests.test(**kwargs),
            pytest.raises(ValueError, match=message),
        ):
            build(**kwargs)


def test_pretraining__refuses_windows():
    with pytest.raises(ValueError, match='window_size=None'):
        CAEPretrainViT(arch=ARCH, img_size=64, window_size=2)
