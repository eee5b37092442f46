# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Unusual cases of optimizer wrappers and parameter groups."""

import logging

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.optim import OptimWrapper as MMEngineOptimWrapper
from mmengine.optim import build_optim_wrapper

from mmcae.engine.optimizers import AmpOptimWrapper, OptimWrapper
from mmcae.engine.optimizers.clip import clip_in_step
from mmcae.engine.optimizers.merged_constructor import merge_groups

MODULE = 'mmcae.engine.optimizers.amp_optim_wrapper'


class Subclass(torch.Tensor):
    """A stand-in for sharded gradients, which also subclass Tensor."""


def build(kind, dtype=torch.float32, fused=True, **clip):
    torch.manual_seed(0)
    model = torch.nn.Linear(5, 3, dtype=dtype)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=fused)
    clip = {'max_norm': 0.5, **clip}
    return model, kind(optimizer=optimizer, clip_grad=clip)


@pytest.fixture
def logged():
    """The messages that are logged."""
    lines = []

    class Handler(logging.Handler):
        def emit(self, record):
            if record.levelno >= logging.INFO:
                lines.append(record.getMessage())

    logger, handler = MMLogger.get_current_instance(), Handler()
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)


@pytest.mark.parametrize(
    'case', ['not fused', 'half fused', 'double', 'subclass', 'no gradient']
)
def test_clip_in_step__does_nothing_without_plain_fused_gradients(case):
    dtype = torch.float64 if case == 'double' else torch.float32
    a, b = (torch.nn.Parameter(torch.ones(3, dtype=dtype)) for _ in range(2))
    if case != 'no gradient':
        a.grad, b.grad = (torch.ones(3, dtype=dtype) for _ in range(2))
    if case == 'subclass':
        a.grad = a.grad.as_subclass(Subclass)
    fused = case != 'not fused'
    optimizer = torch.optim.AdamW([dict(params=[a]), dict(params=[b])])
    optimizer.param_groups[0]['fused'] = fused
    optimizer.param_groups[1]['fused'] = fused and case != 'half fused'
    assert clip_in_step(optimizer, 0.5) is None
    assert not hasattr(optimizer, 'grad_scale')
    assert not hasattr(optimizer, 'found_inf')


@pytest.mark.parametrize(
    ('dtype', 'clip'),
    [
        (torch.float32, dict(norm_type=1.0)),
        (torch.float32, dict(norm_type=float('inf'))),
        (torch.float64, {}),
    ],
)
def test_step__equals_mmengines(dtype, clip):
    weights = []
    for kind, fused in ((MMEngineOptimWrapper, False), (OptimWrapper, True)):
        model, wrapper = build(kind, dtype, fused, **clip)
        for scale in (30.0, 0.3, 1.0):
            loss = model(torch.ones(2, 5, dtype=dtype)).square().sum()
            wrapper.update_params(loss * scale)
        weights.append(model.weight)
    error = (weights[0] - weights[1]).abs().max()
    assert error < (1e-12 if dtype == torch.float64 else 1e-6)


def test_step__with_nan_changes_no_weight():
    model, wrapper = build(OptimWrapper)
    before = model.weight.clone()
    wrapper.update_params(model(torch.ones(1, 5)).sum() * float('nan'))
    assert torch.equal(model.weight, before)


def test_step__clips_with_pytorch_if_there_are_other_settings():
    model, wrapper = build(OptimWrapper, error_if_nonfinite=True)
    with pytest.raises(RuntimeError, match='non-finite'):
        wrapper.update_params(model(torch.ones(1, 5)).sum() * float('inf'))


def test_step__removes_its_attributes_after_an_error(monkeypatch):
    model, wrapper = build(OptimWrapper)
    seen = []

    def fail(**_):
        seen.append(wrapper.optimizer.grad_scale)
        raise RuntimeError('no')

    monkeypatch.setattr(wrapper.optimizer, 'step', fail)
    with pytest.raises(RuntimeError, match='no'):
        wrapper.update_params(model(torch.ones(1, 5)).sum())
    assert len(seen) == 1
    assert not hasattr(wrapper.optimizer, 'grad_scale')
    assert not hasattr(wrapper.optimizer, 'found_inf')


@pytest.mark.skipif(torch.cuda.is_available(), reason='the CPU form')
@pytest.mark.parametrize('dtype', [None, 'bfloat16', torch.bfloat16])
def test_amp__warns_of_another_precision_on_a_cpu(logged, dtype):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    AmpOptimWrapper(optimizer=optimizer, dtype=dtype)
    assert not logged
    AmpOptimWrapper(optimizer=optimizer, dtype='float16')
    (line,) = logged
    assert line.endswith('on the CPU, not to torch.float16')


@pytest.mark.skipif(torch.cuda.is_available(), reason='pretends to be a GPU')
@pytest.mark.parametrize(
    ('dtype', 'scales'), [('float16', True), ('bfloat16', False)]
)
def test_amp__scales_the_loss_in_float16_only(monkeypatch, dtype, scales):
    for module in (MODULE, 'mmengine.optim.optimizer.amp_optimizer_wrapper'):
        monkeypatch.setattr(f'{module}.is_cuda_available', lambda: True)
    monkeypatch.setattr(
        'torch.cuda.amp.common.amp_definitely_not_available', lambda: False
    )
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    wrapper = AmpOptimWrapper(optimizer=optimizer, dtype=dtype)
    assert wrapper.loss_scaler.is_enabled() is scales
    assert wrapper.cast_dtype == getattr(torch, dtype)


def test_merge_groups__ignores_the_order_of_settings():
    a, b = (torch.nn.Parameter(torch.zeros(1)) for _ in range(2))
    one = dict(params=[a], lr=1.0, weight_decay=0.5)
    other = dict(weight_decay=0.5, lr=1.0, params=[b])
    (group,) = merge_groups([one, other])
    assert group == dict(params=[a, b], lr=1.0, weight_decay=0.5)


def test_constructor__logs_groups_and_not_tensors(logged):
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 4))
    build_optim_wrapper(
        model,
        dict(
            type='OptimWrapper',
            constructor='mmcae.MergedOptimWrapperConstructor',
            optimizer=dict(type='SGD', lr=0.5, weight_decay=0.1),
            paramwise_cfg=dict(bias_decay_mult=0.0),
        ),
    )
    settings = "'lr': 0.5, 'weight_decay'"
    assert logged == [
        f'Optimizer group: 2 tensors, 18 parameters, {{{settings}: 0.1}}',
        f'Optimizer group: 2 tensors, 7 parameters, {{{settings}: 0.0}}',
    ]
