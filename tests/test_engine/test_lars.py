# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""LARS against an implementation in NumPy, over several steps."""

import numpy as np
import pytest
import torch
from torch import nn

from mmcae.engine import LARS


def reference(start, gradients, rates, decay, momentum=0.9, trust=0.001):
    """The tensor after the given gradients, in float64."""
    value = start.astype(np.float64)
    buffer = np.zeros_like(value)
    for gradient, rate in zip(gradients, rates, strict=True):
        update = gradient.astype(np.float64)
        if value.ndim > 1:
            update = update + decay * value
            length = np.sqrt((value**2).sum())
            step = np.sqrt((update**2).sum())
            if length > 0 and step > 0:
                update = update * trust * length / step
        buffer = momentum * buffer + update
        value = value - rate * buffer
    return value


@pytest.mark.parametrize('decay', [0.0, 0.1])
@pytest.mark.parametrize('shape', [(4, 3), (2, 3, 2), (5,), (1, 1)])
def test_step__equals_the_arithmetic(shape, decay):
    rng = np.random.default_rng(0)
    start = rng.normal(size=shape)
    gradients = rng.normal(size=(6, *shape))
    rates = [
        0.0,
        2.0,
        6.4,
        6.4,
        1.0,
        0.5,
    ]  # changing rates show where they are applied
    parameter = nn.Parameter(torch.tensor(start))
    optimizer = LARS([parameter], lr=1.0, weight_decay=decay)
    for gradient, rate in zip(gradients, rates, strict=True):
        optimizer.param_groups[0]['lr'] = rate
        parameter.grad = torch.tensor(gradient)
        optimizer.step()
        # The step must not change the gradient.
        assert np.array_equal(parameter.grad.numpy(), gradient)
    expected = reference(start, gradients, rates, decay)
    assert np.allclose(parameter.detach().numpy(), expected, 1e-9, 1e-12)
    assert not np.allclose(expected, start)


@pytest.mark.parametrize('scale', [1e6, 1e-8])
def test_step__of_a_matrix_has_the_norm_of_the_trust_ratio(scale):
    parameter = nn.Parameter(torch.randn(8, 8))
    before = parameter.detach().clone()
    parameter.grad = scale * torch.randn(8, 8)
    LARS([parameter], lr=6.4).step()
    moved = (parameter.detach() - before).norm()
    assert moved.item() == pytest.approx(
        6.4e-3 * before.norm().item(), rel=1e-4
    )


def test_step__does_not_scale_the_gradient_of_a_zero_matrix():
    """With the trust ratio, a zero matrix would stay zero forever."""
    parameter = nn.Parameter(torch.zeros(2, 2))
    parameter.grad = torch.ones(2, 2)
    LARS([parameter], lr=0.5).step()
    assert torch.equal(parameter.detach(), torch.full((2, 2), -0.5))
    parameter.grad.zero_()  # a zero gradient must not give NaN
    LARS([parameter], lr=0.5).step()
    assert torch.equal(parameter.detach(), torch.full((2, 2), -0.5))


def test_step__returns_the_closures_loss_and_skips_unused():
    used, unused = (nn.Parameter(torch.ones(2, 2)) for _ in range(2))
    optimizer = LARS([used, unused], lr=1.0)

    def closure():
        loss = used.sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 4.0
    assert torch.equal(unused.detach(), torch.ones(2, 2))
    assert not torch.equal(used.detach(), torch.ones(2, 2))


def test_state_dict__continues_the_momentum():
    values = []
    for resumed in (False, True):
        torch.manual_seed(1)
        parameter = nn.Parameter(torch.randn(3, 3))
        optimizer = LARS([parameter], lr=1.0)
        for step in range(4):
            parameter.grad = torch.randn(3, 3)
            optimizer.step()
            if resumed and step == 1:
                state = optimizer.state_dict()
                optimizer = LARS([parameter], lr=7.0)
                optimizer.load_state_dict(state)
        values.append(parameter.detach().clone())
    assert torch.equal(*values)


@pytest.mark.parametrize('name', ['lr', 'momentum', 'trust_coefficient'])
def test_init__names_a_negative_number(name):
    parameter = nn.Parameter(torch.zeros(1))
    with pytest.raises(ValueError, match=f'{name}=-1'):
        LARS([parameter], **{'lr': 1.0, name: -1})
