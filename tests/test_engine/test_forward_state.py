# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""What a forward pass changes is copied and undone, wherever it is kept."""

import pytest
import torch
from torch import nn

from mmcae.engine.forward_state import ForwardState


class Moving(nn.Module):
    """Has tensors of every kind that a forward pass may change."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer('buffer', torch.zeros(2))
        self.attribute = torch.zeros(3)
        self.teacher = nn.Parameter(torch.zeros(2), requires_grad=False)
        self.norm = nn.BatchNorm1d(2)
        self.rate = 0.5

    def values(self) -> list[torch.Tensor]:
        """All of them."""
        own = [self.buffer, self.attribute, self.teacher.data]
        return [t.clone() for t in (*own, self.norm.running_mean)]


def change(model: Moving) -> None:
    """Change everything, as a forward pass does."""
    model.buffer.add_(1)
    model.attribute = torch.ones(3)
    with torch.no_grad():
        model.teacher.add_(1)
    model.norm(torch.randn(4, 2) + 5)


@pytest.mark.parametrize('condition', [None, torch.tensor(True)])
def test_restore__undoes_a_pass(condition):
    model = Moving()
    state = ForwardState(model)
    for _ in range(3):  # parameters are copied once they were seen to change
        state.take()
        change(model)
    state.take()
    before = model.values()
    change(model)
    state.restore(condition)
    for old, new in zip(before, model.values(), strict=True):
        assert torch.equal(old, new)
    assert {'buffer', 'attribute', 'teacher'} <= state.values().keys()


def test_restore__leaves_a_good_pass():
    model = Moving()
    state = ForwardState(model)
    state.take()
    change(model)
    after = model.values()
    state.restore(torch.tensor(False))
    for old, new in zip(after, model.values(), strict=True):
        assert torch.equal(old, new)


def test_take__finds_a_tensor_that_has_moved():
    model = Moving()
    state = ForwardState(model)
    state.take()
    del model.buffer
    model.buffer = torch.ones(2)  # an attribute now
    state.take()
    model.buffer.add_(1)
    state.restore()
    assert model.buffer.tolist() == [1, 1]


def test_take__knows_inference_tensors():
    model = Moving()
    with torch.inference_mode():
        model.attribute = torch.zeros(3)
    state = ForwardState(model)
    state.take()
    state.take()
    assert 'attribute' not in state.values()


def test_numbers__are_those_of_now():
    model = Moving()
    state = ForwardState(model)
    model.rate = 0.25
    assert state.numbers()['rate'] == 0.25
