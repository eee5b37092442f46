# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""`torch.compile` of encoder and neck: one graph each, the same numbers."""

import pytest
import torch
from helpers.recordings import TINY, cae_config
from mmengine.registry import MODELS

from mmcae.models.layers import split_patches


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.parametrize('target_encoder', ['shared', 'copy'])
def test_compile__encoder_and_neck_are_one_graph_each(target_encoder):
    torch.manual_seed(0)
    model = MODELS.build(cae_config(TINY, target_encoder=target_encoder))
    model.init_weights()
    model.train()
    images = torch.randn(2, 3, 64, 64)
    split = split_patches(torch.arange(16).expand(2, -1) % 2 == 0, 16)

    def run(encoder, neck):
        model.zero_grad()
        visible = encoder(images, split)[:, 1:]
        logits, latent_pred = neck(visible, split, (4, 4))
        (logits.square().mean() + latent_pred.square().mean()).backward()
        grads = [p.grad for p in model.parameters() if p.grad is not None]
        return logits, latent_pred, *(grad.clone() for grad in grads)

    plain = run(model.backbone, model.neck)
    # `fullgraph` raises where a graph breaks.
    options = dict(fullgraph=True, backend='aot_eager')
    compiled = run(
        torch.compile(model.backbone, **options),
        torch.compile(model.neck, **options),
    )
    assert len(plain) == len(compiled) > 50
    for one, two in zip(plain, compiled, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-6)


def test_compile__target_pass_shares_the_embedding_in_one_graph():
    model = MODELS.build(cae_config(TINY)).train()
    images = torch.randn(2, 3, 64, 64)
    split = split_patches(torch.arange(16).expand(2, -1) % 2 == 0, 16)

    def both(images):
        patches = model.backbone.embed(images)
        visible = model.backbone.encode(patches, split)
        return visible, model.latent_target(images, split, patches)

    plain = both(images)
    compiled = torch.compile(both, fullgraph=True, backend='aot_eager')(images)
    for one, two in zip(plain, compiled, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-6)
