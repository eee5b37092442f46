# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Cross-entropy in slices of rows gives what PyTorch's gives."""

from importlib import import_module

import pytest
import torch
import torch.nn.functional as F
from torch.autograd.graph import saved_tensors_hooks

from mmcae.models.layers import use_kernels
from mmcae.models.ops.cross_entropy import cross_entropy

# The package exports the function under the module's name.
module = import_module('mmcae.models.ops.cross_entropy')


@pytest.fixture(autouse=True)
def _few_rows(monkeypatch):
    monkeypatch.setattr(module, '_NUM_ROWS', 5)


def both(dtype, rows=12, classes=40, spread=3.0):
    torch.manual_seed(0)
    logits = (spread * torch.randn(rows, classes)).to(dtype)
    targets = torch.randint(classes, (rows,))
    found = []
    for loss in (
        lambda x: cross_entropy(x, targets),
        lambda x: F.cross_entropy(x.float(), targets),
    ):
        x = logits.clone().requires_grad_()
        value = loss(x)
        (value * 7).backward()
        found.append((value.detach(), x.grad))
    return found


@pytest.mark.parametrize('spread', [0.1, 3.0, 60.0])
def test_cross_entropy__is_pytorchs_in_float32(spread, subtests):
    for rows in (1, 5, 12):
        with subtests.test(rows=rows):
            ours, theirs = both(torch.float32, rows, spread=spread)
            close = dict(rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(
                ours[0], theirs[0], rtol=1e-6, atol=1e-6
            )
            torch.testing.assert_close(ours[1], theirs[1], **close)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_cross_entropy__of_half_precision_is_computed_in_float32(dtype):
    (ours, our_grad), (theirs, their_grad) = both(dtype)
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)
    assert our_grad.dtype == dtype
    # The same numbers in float32, rounded once.
    assert (our_grad != their_grad).float().mean() < 0.01
    torch.testing.assert_close(our_grad, their_grad)


def test_cross_entropy__saves_no_copy_in_float32():
    kept = []

    def keep(tensor):
        kept.append(tensor)
        return tensor

    logits = torch.randn(12, 40, dtype=torch.bfloat16, requires_grad=True)
    with saved_tensors_hooks(keep, lambda tensor: tensor):
        cross_entropy(logits, torch.zeros(12, dtype=torch.int64))
    large = [t for t in kept if t.numel() >= logits.numel()]
    assert [t.data_ptr() for t in large] == [logits.data_ptr()]


def test_cross_entropy__can_be_pytorchs(monkeypatch):
    monkeypatch.setattr(module, '_CrossEntropy', None)
    logits, targets = torch.randn(3, 4), torch.tensor([0, 1, 2])
    with use_kernels(loss='torch'):
        found = cross_entropy(logits, targets)
    assert torch.equal(found, F.cross_entropy(logits, targets))
    with pytest.raises(AttributeError):
        cross_entropy(logits, targets)
