# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Layers of DALL-E's tokenizer: fast paths, precision, changed weights."""

import pytest
import torch

from mmcae.models.layers import use_kernels
from mmcae.models.ops.choice import onednn_conv_works
from mmcae.models.target_generators import DALLEEncoder
from mmcae.models.target_generators.dalle_layers import DALLEBlock, DALLEConv

SIZES = dict(n_hid=8, vocab_size=32)


@pytest.fixture
def images():
    return torch.rand(2, 3, 32, 32, generator=torch.manual_seed(0))


def test_encoder__onednn_equals_torch(images):
    assert onednn_conv_works(torch.float32)
    encoder = DALLEEncoder(**SIZES)
    with use_kernels(conv='torch', linear='torch'):
        logits = encoder(images)
    with use_kernels(conv='onednn', linear='onednn'):
        ours = encoder(images)
    assert (ours - logits).abs().max() < 1e-5 * logits.abs().max()


def test_conv__follows_the_inputs_precision_and_the_gain():
    conv = DALLEConv(2, 3, 1)
    x = torch.randn(1, 2, 4, 4)
    for dtype in (torch.float32, torch.bfloat16):
        for gain in (1.0, 0.5, 0.25):
            found = conv(x.to(dtype), gain=gain)
            assert found.dtype == dtype
            expected = conv(x) * gain
            close = 1e-5 if dtype == torch.float32 else 2e-2
            torch.testing.assert_close(
                found.float(), expected, rtol=close, atol=close
            )


@pytest.mark.parametrize('width', [8, 16])
def test_block__folded_gain_is_the_same_bits(width):
    block = DALLEBlock(8, width, 1 / 64, (3, 3, 3, 1))
    x = torch.randn(2, 8, 6, 6)
    before = x.clone()
    with torch.no_grad(), use_kernels(conv='torch'):
        expected = block.id_path(x) + block.gain * block.res_path(x)
        assert torch.equal(block(x), expected)
    assert torch.equal(x, before)


def test_block__other_gains_are_not_folded():
    block, x = DALLEBlock(8, 16, 1 / 36, (3, 3, 3, 1)), torch.randn(2, 8, 6, 6)
    with torch.no_grad(), use_kernels(conv='torch'):
        path = block.res_path(x)
        expected = torch.add(block.id_path(x), path, alpha=block.gain)
        assert torch.equal(block(x), expected)


@pytest.mark.parametrize('change', ['load', 'in_place', 'data'])
def test_encoder__new_weights_are_used(images, change):
    encoder, other = DALLEEncoder(**SIZES), DALLEEncoder(**SIZES)
    before = encoder(images)
    for conv, new in zip(encoder.modules(), other.modules(), strict=True):
        if change == 'load' or not hasattr(conv, 'w'):
            continue
        with torch.no_grad():
            for name in ('w', 'b'):
                if change == 'in_place':
                    getattr(conv, name).copy_(getattr(new, name))
                else:
                    getattr(conv, name).data = getattr(new, name).data
    if change == 'load':
        encoder.load_state_dict(other.state_dict())
    assert torch.equal(encoder(images), other(images))
    assert not torch.equal(encoder(images), before)
