# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Memory that one operation after the other takes."""

from concurrent.futures import ThreadPoolExecutor

import torch
from torch import nn

from mmcae.models.layers import Linear, linear
from mmcae.models.layers.scratch import scratch


def test_scratch__is_taken_again_and_grows():
    first = scratch('test', (3, 4), torch.float32)
    assert first.shape == (3, 4)
    small = scratch('test', (2, 5), torch.float32)
    assert small.data_ptr() == first.data_ptr()
    assert scratch('test', (40, 3), torch.float32).shape == (40, 3)
    for name, dtype in (('other', torch.float32), ('test', torch.bfloat16)):
        other = scratch(name, (40, 3), dtype)
        assert other.dtype == dtype
        again = scratch('test', (40, 3), torch.float32)
        assert other.data_ptr() != again.data_ptr()


def test_scratch__each_thread_has_its_own():
    ours = scratch('test', (8,), torch.float32)
    with ThreadPoolExecutor(1) as pool:
        theirs = pool.submit(scratch, 'test', (8,), torch.float32).result()
    assert theirs.data_ptr() != ours.data_ptr()


def test_scratch__training_goes_on_after_inference():
    def first_of_its_name() -> torch.Tensor:
        return scratch('inference', (4,), torch.bfloat16)

    with torch.inference_mode():
        first_of_its_name().fill_(1)
    layer, x = Linear(4, 4), torch.ones(2, 4)
    assert not first_of_its_name().is_inference()
    with torch.autocast('cpu', torch.bfloat16):
        layer(x).sum().backward()
    assert layer.weight.grad is not None


def test_linear__scratch_is_never_what_a_gradient_lies_in():
    torch.manual_seed(0)
    layers = nn.Sequential(Linear(6, 6), nn.Tanh(), Linear(6, 6))
    plain = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6))
    plain.load_state_dict(layers.state_dict())
    x = torch.randn(5, 6)
    for model in (layers, plain):
        with torch.autocast('cpu', torch.bfloat16):
            model(x).square().sum().backward()
    for ours, theirs in zip(
        layers.parameters(), plain.parameters(), strict=True
    ):
        assert ours.grad.dtype == torch.float32
        torch.testing.assert_close(
            ours.grad, theirs.grad, rtol=1e-2, atol=1e-2
        )


def test_linear__casts_into_scratch_under_autocast(monkeypatch):
    taken = []

    def watched(name, shape, dtype):
        taken.append((name, tuple(shape), dtype))
        return scratch(name, shape, dtype)

    monkeypatch.setitem(linear.__globals__, 'scratch', watched)
    layer = Linear(6, 5)
    half = torch.bfloat16
    with torch.autocast('cpu', half):
        out = layer(torch.ones(2, 6, requires_grad=True))
    assert taken == [('cast', (5, 6), half)]
    out.sum().backward()
    assert taken[1:] == [('cast', (5, 6), half), ('gradient', (5, 6), half)]
    taken.clear()
    layer(torch.ones(2, 6)).sum().backward()
    assert not taken
