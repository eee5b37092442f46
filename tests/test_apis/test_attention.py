# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Attention maps are what the model computes with."""

import numpy as np
import pytest
import torch

from mmcae.apis.attention import attention_maps, attention_weights
from mmcae.models import CAEPretrainViT, CAEViT
from mmcae.models.layers.attention import merge_heads, split_heads

ARCH = dict(embed_dims=32, num_layers=3, num_heads=4, feedforward_channels=64)
IMAGES = torch.randn(2, 3, 32, 48, generator=torch.Generator().manual_seed(0))


def randomized(encoder):
    torch.manual_seed(0)
    for parameter in encoder.parameters():
        parameter.data.normal_(std=0.3)
    return encoder


@pytest.fixture
def encoder():
    return randomized(CAEPretrainViT(ARCH, img_size=(32, 48), patch_size=8))


@pytest.mark.parametrize('biased', [False, True])
def test_weights__give_the_output_of_the_models_own_attention(biased):
    kind = CAEViT if biased else CAEPretrainViT
    encoder = randomized(kind(ARCH, img_size=(32, 48), patch_size=8)).eval()
    assert (encoder.layers[0].attn.bias_grid is not None) == biased
    layer, x = encoder.layers[1].attn, torch.randn(2, 25, 32)
    with torch.no_grad():
        weights = attention_weights(layer, x, (4, 6))
        torch.testing.assert_close(weights.sum(-1), torch.ones(2, 4, 25))
        qkv = torch.nn.functional.linear(x, layer.qkv.weight, layer.qkv_bias())
        values = split_heads(qkv.chunk(3, -1)[2], 4)
        mixed = layer.proj(merge_heads(weights @ values))
        torch.testing.assert_close(mixed, layer(x, (4, 6)))


def test_maps__are_those_of_each_block(encoder):
    encoder.train()
    found = attention_maps(encoder, IMAGES)
    assert encoder.training
    assert not any(layer.attn._forward_pre_hooks for layer in encoder.layers)
    assert found.weights.shape == (2, 3, 4, 25, 25)
    encoder.eval()
    with torch.no_grad():
        embedding = encoder.embed(IMAGES)
        x = encoder.prepend_class_token(
            embedding.tokens + embedding.position[:, 1:], embedding.position
        )
        for number, layer in enumerate(encoder.layers):
            expected = attention_weights(layer.attn, layer.ln1(x), (4, 6))
            torch.testing.assert_close(found.weights[:, number], expected)
            x = layer(x)


def test_maps__of_queries(encoder):
    found = attention_maps(encoder, IMAGES)
    weights = found.weights.numpy()
    head = found.of_class_token(0, 2)
    np.testing.assert_array_equal(
        head, weights[:, 0, 2, 0, 1:].reshape(2, 4, 6)
    )
    patch = found.of_patch(2, 5)
    np.testing.assert_allclose(
        patch, weights[:, -1, :, 1 + 17, 1:].mean(1).reshape(2, 4, 6)
    )
    total = np.eye(25)
    for block in weights[0].mean(1):
        total = (0.5 * block + 0.5 * np.eye(25)) @ total
    np.testing.assert_allclose(total.sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(
        found.rollout()[0].ravel(), total[0, 1:], atol=1e-6
    )
    np.testing.assert_allclose(
        found.rollout((2, 5))[0].ravel(), total[18, 1:], atol=1e-6
    )


def test_mistakes__are_named(encoder):
    found = attention_maps(encoder, IMAGES)
    with pytest.raises(ValueError, match='no patch 4,0 in a grid of 4 x 6'):
        found.of_patch(4, 0)
    with pytest.raises(ValueError, match='no patch 0,6'):
        found.rollout((0, 6))
    with pytest.raises(ValueError, match='no block 3: the encoder has 3'):
        found.of_class_token(3)
    with pytest.raises(ValueError, match='no head 4: a block has 4'):
        found.of_class_token(head=4)
    windows = CAEViT(ARCH, 32, patch_size=8, window_size=2, global_indices=[2])
    with pytest.raises(ValueError, match='attends in windows'):
        attention_maps(windows, IMAGES)
