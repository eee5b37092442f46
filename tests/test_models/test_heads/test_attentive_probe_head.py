# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The attentive probe: parameters, initial weights, gradients, messages."""

import pytest
import torch
from mmpretrain.structures import DataSample
from torch import nn

from mmcae.models import AttentiveProbeHead


@pytest.fixture
def head():
    head = AttentiveProbeHead(num_classes=5, in_channels=32, num_heads=4)
    head.init_weights()
    return head


@pytest.mark.parametrize(
    ('width', 'heads', 'count'),
    # The authors have 3,137,512 and 5,231,592, with a LayerNorm not used.
    [(768, 12, 3_137_512 - 1_536), (1024, 16, 5_231_592 - 2_048)],
)
def test_init__has_as_many_parameters_as_the_authors_use(width, heads, count):
    with torch.device('meta'):
        head = AttentiveProbeHead(1000, width, heads)
    assert sum(p.numel() for p in head.parameters()) == count


def test_forward__every_parameter_has_a_gradient(head):
    # The initial query is zero and attends to all tokens equally.
    nn.init.normal_(head.query_token)
    nn.init.normal_(head.cross_attn.k.weight)
    tokens = torch.randn(6, 17, 32)
    (head((tokens,)) * torch.randn(6, 5)).sum().backward()
    for name, parameter in head.named_parameters():
        # BatchNorm removes what all samples share, and softmax what all
        # tokens share.
        if name not in (
            'cross_attn.proj.bias',
            'cross_attn.v_bias',
            'norm_v.bias',
            'norm_k.bias',
        ):
            assert parameter.grad.abs().max() > 1e-6, name


def test_init_weights__follows_the_authors():
    head = AttentiveProbeHead(1000, 384, 12)
    for parameter in head.cross_attn.parameters():
        nn.init.ones_(parameter.data)
    nn.init.zeros_(head.cross_attn.q_bias)
    nn.init.zeros_(head.cross_attn.v_bias)
    head.init_weights()
    assert not head.query_token.any()
    for name in ('q', 'k', 'v', 'proj'):
        weight = getattr(head.cross_attn, name).weight
        assert weight.abs().max() <= 0.02
        assert weight.std().item() == pytest.approx(0.0108, rel=0.03)
    assert head.fc.weight.std().item() == pytest.approx(0.01, rel=0.03)
    for bias in (
        head.cross_attn.proj.bias,
        head.cross_attn.q_bias,
        head.cross_attn.v_bias,
        head.fc.bias,
    ):
        assert not bias.any()
    norms = (head.norm_q, head.norm_k, head.norm_v)
    assert {norm.eps for norm in norms} == {1e-6}
    assert head.bn.eps == 1e-5
    assert head.bn.momentum == 0.1
    assert not head.bn.affine


def test_pre_logits__of_a_zero_query_is_the_mean_value(head):
    """A zero query attends to all tokens equally; nothing else is added."""
    tokens = torch.randn(3, 17, 32)
    head.eval()
    attention = head.cross_attn
    expected = attention.proj(attention.v(head.norm_v(tokens).mean(1)))
    expected = expected / (1 + 1e-5) ** 0.5
    assert torch.allclose(head.pre_logits((tokens,)), expected, atol=1e-6)


def test_predict__uses_running_statistics(head):
    tokens = torch.randn(8, 17, 32)
    for _ in range(3):
        head((torch.randn(8, 17, 32),))
    head.eval()
    together = head.predict((tokens,))
    alone = head.predict((tokens[:1],))
    assert torch.allclose(together[0].pred_score, alone[0].pred_score)
    assert head.bn.num_batches_tracked == 3


def test_loss__is_first_the_logarithm_of_the_classes(head):
    samples = [DataSample().set_gt_label(i % 5) for i in range(6)]
    loss = head.loss((torch.randn(6, 17, 32),), samples)['loss']
    assert loss.item() == pytest.approx(1.6, abs=0.1)  # ln 5


def test_pre_logits__refuses_pooled_features(head):
    with pytest.raises(ValueError, match=r"\(B, N, 32\).*out_type='raw'"):
        head((torch.randn(2, 32),))
    with pytest.raises(ValueError, match=r'got \(2, 17, 16\)'):
        head((torch.randn(2, 17, 16),))


def test_init__refuses_impossible_numbers():
    with pytest.raises(ValueError, match='num_classes=0'):
        AttentiveProbeHead(0, 32, 4)
    with pytest.raises(ValueError, match='num_heads=5'):
        AttentiveProbeHead(3, 32, 5)
