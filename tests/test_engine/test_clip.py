# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Clipping inside a fused step, against clipping before the step."""

import copy
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from mmengine.optim import OptimWrapper as MMEngineOptimWrapper

from mmcae.engine.optimizers import LARS, AmpOptimWrapper, OptimWrapper
from mmcae.engine.optimizers.clip import (
    clip_in_step,
    skips_on_device,
    unclip,
)


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


def test_clips_in_step__switched_off_rounds_as_mmengine(monkeypatch):
    plain = steps(MMEngineOptimWrapper, 30.0)
    own = steps(partial(OptimWrapper, clips_in_step=False), 30.0)
    assert torch.equal(own[0], plain[0])
    assert own[1] == plain[1]
    scaled = []
    monkeypatch.setattr(
        'mmcae.engine.optimizers.clip.clip_in_step',
        lambda *args, **kwargs: scaled.append(1),
    )
    for kind in (OptimWrapper, AmpOptimWrapper):
        steps(partial(kind, clips_in_step=False), 30.0)
        assert not scaled
        steps(kind, 30.0)
        assert scaled
        scaled.clear()


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
    ('fused', 'clip', 'scaler'),
    [
        (True, dict(max_norm=1.0), False),
        (False, dict(max_norm=1.0), False),
        (True, dict(type='value', clip_value=1.0), False),
        (True, None, False),
        (False, None, False),
        (False, None, True),
    ],
)
@pytest.mark.parametrize('factor', ['nan', 'inf'])
@pytest.mark.parametrize('on_device', [False, True])
def test_step__is_skipped_with_every_optimizer(
    fused, clip, scaler, factor, on_device, monkeypatch
):
    clip = clip and dict(clip)  # mmengine changes it
    if on_device:  # the host decides nothing
        monkeypatch.setattr(
            'mmcae.engine.optimizers.clip.is_free_to_read', lambda norm: False
        )
    model = torch.nn.Linear(5, 3)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=fused)
    wrapper = AmpOptimWrapper(optimizer=optimizer, clip_grad=clip)
    wrapper.loss_scaler = torch.amp.GradScaler('cpu', enabled=scaler)
    assert wrapper.skips_broken_steps
    wrapper.update_params(model(torch.ones(1, 5)).sum())
    before = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
    wrapper.update_params(model(torch.ones(1, 5)).sum() * float(factor))
    after = model.state_dict(), optimizer.state_dict()
    for name, value in before[0].items():
        assert torch.equal(value, after[0][name])
    for number, state in before[1]['state'].items():
        for key, value in state.items():
            assert torch.equal(value, after[1]['state'][number][key]), key
    wrapper.update_params(model(torch.ones(1, 5)).sum())
    assert not torch.equal(model.weight, before[0]['weight'])
    assert not hasattr(optimizer, 'found_inf')


@pytest.mark.parametrize('kind', [OptimWrapper, AmpOptimWrapper])
def test_backward__a_broken_loss_with_finite_gradients_is_skipped(kind):
    model = torch.nn.Linear(5, 3)
    wrapper = wrapped(kind, model)
    before = model.weight.detach().clone()
    wrapper.update_params(model(torch.ones(1, 5)).sum() + float('inf'))
    assert torch.equal(model.weight, before)


def test_step__one_bad_batch_of_an_accumulation_drops_all():
    model = torch.nn.Linear(5, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    wrapper = OptimWrapper(optimizer=optimizer, accumulative_counts=2)
    before = model.weight.detach().clone()
    for factor in (1.0, float('nan')):
        wrapper.update_params(model(torch.ones(1, 5)).sum() * factor)
    assert torch.equal(model.weight, before)
    for factor in (1.0, 1.0):
        wrapper.update_params(model(torch.ones(1, 5)).sum() * factor)
    assert not torch.equal(model.weight, before)


@pytest.mark.parametrize('first', [True, False])
def test_lars__skips_a_step_on_the_device(first, monkeypatch):
    monkeypatch.setattr(
        'mmcae.engine.optimizers.clip.is_free_to_read', lambda norm: False
    )
    torch.manual_seed(0)
    weights = []
    for skipped in (0, 1):
        model = torch.nn.Linear(5, 3)
        torch.nn.init.constant_(model.weight, 0.5)
        torch.nn.init.constant_(model.bias, 0.5)
        wrapper = OptimWrapper(optimizer=LARS(model.parameters(), lr=0.1))
        factors = [1.0, 2.0]
        if skipped:
            factors.insert(0 if first else 1, float('nan'))
        for factor in factors:
            wrapper.update_params(model(torch.ones(1, 5)).sum() * factor)
        weights.append(torch.cat([p.flatten() for p in model.parameters()]))
    assert torch.equal(*weights)


def test_skips_on_device__not_with_a_fused_sgd():
    # Its momentum would be memory that nobody has written.
    parameters = [torch.nn.Parameter(torch.ones(2))]
    sgd = torch.optim.SGD(parameters, lr=0.1, momentum=0.9, fused=True)
    adam = torch.optim.AdamW(parameters, fused=True)
    assert skips_on_device(adam)
    assert not skips_on_device(sgd)
    assert not skips_on_device(torch.optim.AdamW(parameters))


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
