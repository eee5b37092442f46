# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The effective rank of features whose rank is known."""

import math

import pytest
import torch

from mmcae.evaluation.rank import rank_me, spread


@pytest.mark.parametrize('rank', [1, 3, 8])
def test_rank_me__of_equally_used_directions(rank):
    basis = torch.linalg.qr(torch.randn(20, 20))[0]
    features = basis[:, :rank] @ torch.linalg.qr(torch.randn(8, 8))[0][:rank]
    assert rank_me(features) == pytest.approx(rank, rel=1e-5)


def test_rank_me__by_hand():
    # Singular values 3 and 1: shares 3/4 and 1/4.
    features = torch.diag(torch.tensor([3.0, 1.0]))
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert rank_me(features) == pytest.approx(math.exp(entropy))
    assert rank_me(torch.zeros(4, 3)) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ('features', 'match'),
    [
        (torch.zeros(3), r'got \(3,\)'),
        (torch.tensor([[1.0, float('nan')]]), 'not finite'),
    ],
)
def test_rank_me__refuses(features, match):
    with pytest.raises(ValueError, match=match):
        rank_me(features)


def test_spread__between_equal_and_centered():
    assert spread(torch.ones(5, 3)) == 0
    assert spread(torch.tensor([[1.0], [-1.0]])) == pytest.approx(1)
    # Mean 3, variance 1: 1 / sqrt(10).
    assert spread(torch.tensor([[2.0], [4.0]])) == pytest.approx(10**-0.5)
