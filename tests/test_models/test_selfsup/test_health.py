# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The health numbers against small hand-made cases."""

import math

import torch

from mmcae.models.layers import split_patches
from mmcae.models.selfsup.health import (
    TokenHealth,
    latent_health,
    perplexity,
)


def test_perplexity__counts_equally_used_codes():
    counts = torch.tensor([5.0, 5.0, 0.0, 5.0])
    assert math.isclose(perplexity(counts).item(), 3.0, rel_tol=1e-6)


def test_latent_health__cosine_and_spread():
    target = torch.randn(8, 50, 16)
    same = latent_health(target * 3, target)
    assert math.isclose(same['cosine'].item(), 1.0, rel_tol=1e-5)
    assert abs(same['latent_std'].item() - 1.0) < 0.05
    collapsed = latent_health(target, torch.ones_like(target))
    assert collapsed['latent_std'].item() == 0.0


def test_token_health__reference_knows_position_only():
    torch.manual_seed(0)
    health = TokenHealth(num_classes=4)
    split = split_patches(torch.tensor([[True, True, False]] * 2), 3)
    tokens = torch.tensor([1, 2, 1, 2])  # position 0: 1, position 1: 2
    logits = torch.zeros(2, 2, 4)
    logits[..., 1] = 1.0
    first = health(logits, tokens, split)
    assert first['acc'].item() == 0.5
    assert first['acc_position'].item() == 0.0
    second = health(logits, tokens, split)
    assert second['acc_position'].item() == 1.0
    assert math.isclose(second['perplexity'].item(), 2.0, rel_tol=1e-6)


def test_token_health__starts_again_for_another_grid():
    health = TokenHealth(num_classes=4)
    for length in (3, 5):
        mask = torch.ones(1, length, dtype=torch.bool)
        split = split_patches(mask, length)
        health(torch.zeros(1, length, 4), torch.zeros(length).long(), split)
    assert health.counts.shape == (5, 4)
