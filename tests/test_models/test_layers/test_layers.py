# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Positions, masks and initial weights, which have the authors' numbers."""

import math

import pytest
import torch

from mmcae.models import CAENeck, CAEPretrainViT
from mmcae.models.layers import (
    extend_bias_table,
    select_tokens,
    sincos_position,
    split_patches,
    trunc_normal_,
)


def test_sincos_position__has_the_authors_values():
    table = sincos_position((14, 14), 768, num_extra_tokens=1)[0]
    assert table.shape == (197, 768)
    assert table[0].eq(0).all()
    column, row = table[2], table[15]
    close = dict(rtol=0, atol=5e-5)
    torch.testing.assert_close(column[:3], torch.zeros(3), **close)
    assert column[192:384].eq(1).all()
    expected = torch.tensor([0.8415, 0.8153, 0.7886])
    torch.testing.assert_close(column[384:387], expected, **close)
    expected = torch.tensor([0.5403, 0.5791])
    torch.testing.assert_close(column[576:578], expected, **close)
    expected = torch.tensor([0.8415, 0.8153, 0.7886])
    torch.testing.assert_close(row[:3], expected, **close)
    assert row[384:387].eq(0).all()


def test_sincos_position__width_must_be_a_multiple_of_four():
    with pytest.raises(ValueError, match='embed_dims=30'):
        sincos_position((2, 2), 30)


def test_split_patches__keeps_row_major_order():
    mask = torch.tensor([[1, 0, 0, 1, 0, 1, 0], [0, 1, 1, 0, 0, 0, 1]])
    split = split_patches(mask, 7)
    assert split.masked.tolist() == [[0, 3, 5], [1, 2, 6]]
    assert split.visible.tolist() == [[1, 2, 4, 6], [0, 3, 4, 5]]
    assert split.num_patches == 7
    assert split.inverse.visible is split.masked
    assert split.inverse.masked is split.visible


def test_split_patches__returns_a_split_of_the_same_grid():
    split = split_patches(torch.tensor([[True, False, False, True]]), 4)
    assert split_patches(split, 4) is split
    with pytest.raises(ValueError, match='the mask has 4 entries'):
        split_patches(split, 9)


def test_select_tokens__selects_what_a_boolean_mask_selects():
    tokens = torch.randn(2, 6, 5, requires_grad=True)
    mask = torch.tensor([[1, 0, 0, 1, 0, 1], [0, 1, 1, 0, 1, 0]]).bool()
    split = split_patches(mask, 6)
    picked = select_tokens(tokens, split.masked)
    assert torch.equal(picked, tokens[mask].view(2, 3, 5))
    assert torch.equal(
        select_tokens(tokens, split.visible), tokens[~mask].view(2, 3, 5)
    )
    weight = torch.randn(2, 3, 5)
    (found,) = torch.autograd.grad((picked * weight).sum(), tokens)
    (expected,) = torch.autograd.grad(
        (tokens[mask].view(2, 3, 5) * weight).sum(), tokens
    )
    assert torch.equal(found, expected)


def test_select_tokens__moves_indices_to_the_tokens_device():
    tokens = torch.empty(2, 6, 5, device='meta')
    picked = select_tokens(tokens, torch.tensor([[0, 3], [1, 5]]))
    assert picked.device.type == 'meta'
    assert picked.shape == (2, 2, 5)


def test_select_tokens__one_table_serves_every_sample():
    table = torch.arange(6.0).view(1, 6, 1)
    picked = select_tokens(table, torch.tensor([[0, 3], [1, 5]]))
    assert picked[..., 0].tolist() == [[0, 3], [1, 5]]


def std(tensor):
    return tensor.float().std().item()


def assert_std(tensor, expected):
    assert math.isclose(std(tensor), expected, rel_tol=0.03)


@pytest.fixture(scope='module')
def xavier():
    torch.manual_seed(0)
    arch = {**CAEPretrainViT.arch_zoo['base'], 'num_layers': 2}
    encoder = CAEPretrainViT(arch=arch)
    neck = CAENeck(regressor_depth=1, decoder_depth=1)
    for module in (encoder, neck):
        module.init_weights()
    return encoder, neck


def test_xavier__has_the_authors_statistics(xavier):
    encoder, neck = xavier
    for block in encoder.layers:
        assert_std(block.attn.qkv.weight, 0.02552)
        assert block.attn.qkv.weight.abs().max() < 0.0443
        assert_std(block.attn.proj.weight, 0.0361)
        assert_std(block.ffn.layers[1].weight, 0.02282)
        assert block.gamma_1.eq(0.1).all()
        assert block.attn.q_bias.eq(0).all()
    assert_std(neck.head.weight, 0.01494)
    assert neck.head.weight.abs().max() < 0.026
    assert_std(neck.regressors[0].cross_attn.q.weight, 0.0361)
    assert_std(encoder.patch_embed.projection.weight, 0.01079)
    assert encoder.patch_embed.projection.weight.abs().max() <= 0.02
    for token in (encoder.cls_token, neck.mask_token):
        assert 0.009 < std(token) < 0.0125
    biases = [p for n, p in neck.named_parameters() if n.endswith('.bias')]
    assert all(bias.eq(0).all() for bias in biases)


@pytest.fixture(scope='module')
def beit():
    torch.manual_seed(0)
    arch = dict(
        embed_dims=256,
        num_layers=24,
        num_heads=4,
        feedforward_channels=1024,
    )
    settings = dict(weight_init='beit', layer_scale_init_value=1e-5)
    encoder = CAEPretrainViT(arch=arch, **settings)
    neck = CAENeck(
        num_classes=512,
        embed_dims=128,
        num_heads=4,
        in_channels=256,
        **settings,
    )
    for module in (encoder, neck):
        module.init_weights()
    return encoder, neck


def test_beit__has_the_authors_statistics(beit):
    encoder, neck = beit
    assert_std(encoder.layers[5].attn.qkv.weight, 0.01079)
    assert_std(encoder.layers[0].attn.proj.weight, 0.00764)
    assert_std(encoder.layers[23].attn.proj.weight, 0.00156)
    assert_std(encoder.layers[23].ffn.layers[1].weight, 0.00156)
    assert_std(neck.decoders[3].ffn.layers[1].weight, 0.00382)
    assert_std(neck.regressors[3].cross_attn.proj.weight, 0.00382)
    assert_std(neck.head.weight, 0.01079)
    assert encoder.layers[0].gamma_2.eq(1e-5).all()


def test_trunc_normal__a_seed_gives_the_same_weights_with_every_torch():
    weights = trunc_normal_(torch.empty(1000))
    following = torch.rand(1)
    # Recorded with seed 0 and PyTorch 2.9.1.
    expected = [-0.00012812, 0.00952839, -0.01550758, -0.01356598]
    assert weights[:4].tolist() == pytest.approx(expected, abs=1e-7)
    # Exactly one number is drawn for each value.
    torch.manual_seed(0)
    torch.rand(1000)
    assert torch.equal(torch.rand(1), following)
    assert weights.abs().max() <= 0.02


def test_beit__projection_has_pytorchs_own_weights(beit):
    _, neck = beit
    assert_std(neck.projection.weight, 1 / math.sqrt(3 * 256))
    assert neck.projection.bias.abs().max() > 0


def test_extend_bias_table__keeps_near_and_outermost_offsets():
    torch.manual_seed(0)
    table = torch.randn(7 * 7 + 3, 2)
    assert torch.allclose(extend_bias_table(table, (4, 4), (4, 4)), table)
    spread = extend_bias_table(table, (4, 4), (6, 9))
    assert spread.shape == (11 * 17 + 3, 2)
    assert torch.equal(spread[-3:], table[-3:])
    old = table[:-3].view(7, 7, 2)
    new = spread[:-3].view(11, 17, 2)
    for a, b in ((0, 0), (3, 5), (6, 10)):  # rows -3 -> -5, 0 -> 0, 3 -> 5
        for c, d in ((0, 0), (3, 8), (6, 16)):
            torch.testing.assert_close(old[a, c], new[b, d])
