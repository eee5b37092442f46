# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Clipping inside a fused step, against clipping before the step."""

import copy
from types import SimpleNamespace

import pytest
import torch
from mmengine.optim import OptimWrapper as MMEngineOptimWrapper

from mmcae.engine.optimizers import AmpOptimWrapper, OptimWrapper
from mmcae.engine.optimizers.clip import clip_in_step, unclip


def wrapped(kind, model, fused=True, **clip):
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=fused)
    clip = clip or dict(max_norm=0.5)
    return kind(optimizer=optimizer, clip_grad=clip)


def steps(kind, scale, **kwargs):
    torch.manual_seed(0)
    model = torch.nn.Linear(5, 3)
    wrapper = wrapped(kind, model, **kwargs)
    norms = []
    for _ in range(3):
        loss = (model(torch.randn(4, 5)) * scale).square().mean()
        wrapper.update_params(loss)
        scalars = wrapper.message_hub.log_scalars
        norms.append(scalars['train/grad_norm'].current())
    assert not hasattr(wrapper.optimizer, 'grad_scale')
    return torch.cat([p.flatten() for p in model.parameters()]), norms


@pytest.mark.parametrize('kind', [OptimWrapper, AmpOptimWrapper])
@pytest.mark.parametrize('scale', [0.01, 30.0])
def test_clip__equals_clipping_before_the_step(kind, scale):
    theirs, norms = steps(MMEngineOptimWrapper, scale, fused=False)
    for fused in (True, False):
        ours, our_norms = steps(kind, scale, fused=fused)
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
        assert our_norms == pytest.approx(norms)


def test_clip__does_not_write_the_gradients(monkeypatch):
    def forbidden(*args, **kwargs):
        raise AssertionError('clipped before the step')

    monkeypatch.setattr(torch.nn.utils, 'clip_grad_norm_', forbidden)
    model = torch.nn.Linear(5, 3)
    wrapper = wrapped(OptimWrapper, model)
    wrapper.update_params(model(torch.ones(1, 5)).sum())


def test_step__is_skipped_if_a_gradient_is_not_finite():
    model = torch.nn.Linear(5, 3)
    wrapper = wrapped(OptimWrapper, model)
    before = copy.deepcopy(model.state_dict())
    wrapper.update_params(model(torch.ones(1, 5)).sum() * float('inf'))
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    wrapper.update_params(model(torch.ones(1, 5)).sum())
    assert not torch.equal(model.weight, before['weight'])


def test_clip__is_done_by_mmengine_with_a_loss_scaler():
    def train(in_step):
        torch.manual_seed(0)
        model = torch.nn.Linear(5, 3)
        wrapper = wrapped(AmpOptimWrapper, model)
        scaler = torch.amp.GradScaler('cpu', init_scale=1024.0)
        wrapper.loss_scaler = scaler
        assert wrapper.skips_broken_steps
        if not in_step:
            wrapper._clip_grad = lambda: MMEngineOptimWrapper._clip_grad(
                wrapper
            )
        for factor in (30.0, float('inf'), 30.0):
            loss = (model(torch.randn(4, 5)) * factor).square().mean()
            wrapper.update_params(loss)
        return torch.cat([p.flatten() for p in model.parameters()]), scaler

    ours, our_scaler = train(in_step=True)
    theirs, their_scaler = train(in_step=False)
    assert torch.equal(ours, theirs)
    assert our_scaler.get_scale() == their_scaler.get_scale() < 1024


@pytest.mark.parametrize(
    ('fused', 'clip', 'scaler', 'expected'),
    [
        (True, dict(max_norm=1.0), False, True),
        (False, dict(max_norm=1.0), False, False),
        (True, dict(type='value', clip_value=1.0), False, False),
        (True, None, False, False),
        (False, None, True, True),
    ],
)
def test_skips_broken_steps__is_true_only_if_steps_are_skipped(
    fused, clip, scaler, expected
):
    model = torch.nn.Linear(5, 3)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=fused)
    wrapper = AmpOptimWrapper(optimizer=optimizer, clip_grad=clip)
    wrapper.loss_scaler = torch.amp.GradScaler('cpu', enabled=scaler)
    assert wrapper.skips_broken_steps is expected
    wrapper.update_params(model(torch.ones(1, 5)).sum() * float('nan'))
    assert model.weight.isfinite().all().item() is expected


def test_clip_in_step__reads_no_value_from_a_gpu():
    parameter = torch.nn.Parameter(torch.empty(3, device='meta'))
    parameter.grad = torch.empty(3, device='meta')  # has no numbers at all
    groups = [dict(params=[parameter], fused=True)]
    optimizer = SimpleNamespace(param_groups=groups)
    norm = clip_in_step(optimizer, max_norm=1.0)
    for value in (norm, optimizer.grad_scale, optimizer.found_inf):
        assert value.device.type == 'meta'
    unclip(optimizer)
    assert vars(optimizer) == dict(param_groups=groups)


def test_clip_in_step__small_gradients_are_not_rewritten():
    model = torch.nn.Linear(5, 3)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    for size, scaled in ((1e-3, False), (10.0, True)):
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, size)
        clip_in_step(optimizer, max_norm=1.0)
        assert hasattr(optimizer, 'grad_scale') is scaled
        assert optimizer.found_inf == 0
        unclip(optimizer)
