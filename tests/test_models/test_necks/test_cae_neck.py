# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""`CAENeck`: layer scale, drop path, blocks that are computed again."""

import pytest
import torch

from mmcae.models import CAENeck


def run(with_cp):
    torch.manual_seed(0)
    neck = CAENeck(
        num_classes=24,
        embed_dims=32,
        num_heads=4,
        regressor_depth=2,
        decoder_depth=2,
        drop_path_rate=0.3,
        with_cp=with_cp,
    ).train()
    neck.init_weights()
    mask = torch.arange(16).expand(4, -1) % 2 == 0
    visible = torch.randn(4, 8, 32)
    kept = {}

    def pack(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.numel()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        logits, latent = neck(visible, mask, (4, 4))
    (logits.square().mean() + latent.square().mean()).backward()
    return sum(kept.values()), logits, [p.grad for p in neck.parameters()]


def test_with_cp__same_gradients_for_less_memory():
    kept, logits, gradients = run(False)
    kept_less, same_logits, same_gradients = run(True)
    assert kept_less < 0.3 * kept
    assert torch.equal(same_logits, logits)
    for same, gradient in zip(same_gradients, gradients, strict=True):
        torch.testing.assert_close(same, gradient)


def test_regressor__without_layer_scale_has_frozen_ones():
    neck = CAENeck(
        num_classes=8, embed_dims=16, num_heads=2, layer_scale_init_value=0
    )
    assert neck.regressors[0].gamma_1_cross.eq(1).all()
    assert not neck.regressors[0].gamma_1_cross.requires_grad
    assert neck.decoders[0].gamma_1 is None


def test_neck__drop_path_grows_linearly_in_both_stacks():
    neck = CAENeck(
        num_classes=8, embed_dims=16, num_heads=2, drop_path_rate=0.1
    )
    for stack in (neck.regressors, neck.decoders):
        rates = [block.drop_path.drop_prob for block in stack]
        assert rates == pytest.approx([0, 0.1 / 3, 0.2 / 3, 0.1])
