# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The optimizer in a resumed file: it continues exactly, or is refused."""

import copy

import numpy as np
import pytest
import torch
from helpers.resumed_runs import assert_refused, make_runner, resuming_runner
from mmengine.optim import OptimWrapper, OptimWrapperDict

from mmcae.checkpoint.optimizer_check import check_optimizer
from mmcae.checkpoint.plain_values import ResumeError
from mmcae.checkpoint.reading import read_checkpoint


@pytest.fixture(scope='module')
def saved(tmp_path_factory):
    """The checkpoint of a run after the first of two epochs."""
    work_dir = tmp_path_factory.mktemp('saved')
    make_runner(work_dir).train()
    return read_checkpoint(work_dir / 'epoch_1.pth')


def moments(checkpoint, index=1):
    return checkpoint['optimizer']['state'][index]


def replace(part, key, change):
    part[key] = change(part[key])


def set_moment(name, change, index=1):
    return lambda c: replace(moments(c, index), name, change)


def group(checkpoint):
    return checkpoint['optimizer']['param_groups'][0]


NARROW = r'exp_avg of parameter 1 .* is float32 \(2, 3\) and must be'
FAULTS = {
    # Fused kernels would read beyond such moments.
    'narrower': (set_moment('exp_avg', lambda m: m[:2].clone()), NARROW),
    'one short': (
        set_moment('exp_avg_sq', lambda m: m.flatten()[:-1].clone()),
        r'exp_avg_sq of parameter 1 .* is float32 \(11,\)',
    ),
    'empty': (
        set_moment('exp_avg', lambda m: m[:0].clone()),
        r'is float32 \(0, 3\)',
    ),
    'flat': (set_moment('exp_avg', torch.flatten), r'float32 \(12,\)'),
    'integers': (set_moment('exp_avg', torch.Tensor.int), 'int32'),
    'double': (set_moment('exp_avg', torch.Tensor.double), 'float64'),
    'half': (set_moment('exp_avg', torch.Tensor.half), 'float16'),
    'list': (set_moment('exp_avg', torch.Tensor.tolist), 'is a list'),
    'none': (set_moment('exp_avg', lambda _: None), 'is a NoneType'),
    'no moment': (lambda c: moments(c).pop('exp_avg_sq'), r'keeps \(exp_avg'),
    'one too many': (
        lambda c: moments(c).update(x=torch.ones(1)),
        r'keeps \(exp_avg, exp_avg_sq, step, x\)',
    ),
    'one memory': (
        lambda c: moments(c).update(exp_avg_sq=moments(c)['exp_avg']),
        'shares its memory',
    ),
    'infinite step': (set_moment('step', lambda s: s * torch.inf), 'step'),
    'no step': (set_moment('step', lambda s: s * torch.nan), 'step'),
    'negative step': (set_moment('step', lambda s: s - 9), 'step'),
    'huge step': (set_moment('step', lambda s: s + 2.0**60), 'step'),
    'steps': (set_moment('step', lambda s: s.expand(3)), 'step'),
    'step is text': (set_moment('step', lambda s: '3'), 'step'),
    'state is a list': (
        lambda c: c['optimizer'].update(state=[]),
        'no dictionary of states',
    ),
    'state of a stranger': (
        lambda c: c['optimizer']['state'].update({7: {}}),
        r'1 unknown parameters \(7\)',
    ),
    'no state at all': (
        lambda c: c['optimizer'].update(state={}),
        'no state of any parameter',
    ),
    'no groups': (lambda c: c['optimizer'].pop('param_groups'), 'no list'),
    'two groups': (
        lambda c: replace(c['optimizer'], 'param_groups', lambda g: g * 2),
        '2 groups of parameters, and that of this config 1',
    ),
    'fewer parameters': (lambda c: group(c)['params'].pop(), '2 parameters'),
    'twice': (lambda c: group(c).update(params=[0, 1, 1]), 'twice'),
    'names': (lambda c: group(c).update(params=['a', 'b', 'c']), 'no list'),
    'rate is text': (lambda c: group(c).update(lr='high'), 'lr=high'),
    'rate is nan': (lambda c: group(c).update(lr=np.nan), 'lr=nan'),
    'three betas': (lambda c: group(c).update(betas=(0, 0, 0)), 'betas='),
    'no betas': (lambda c: group(c).pop('betas'), 'has the settings'),
    'other moments': (
        lambda c: group(c).update(amsgrad=True),
        r'that of this config \(exp_avg, exp_avg_sq, max_exp_avg_sq, step\)',
    ),
    'optimizer is a list': (
        lambda c: c.update(optimizer=[]),
        'optimizer is a list',
    ),
    'no optimizer': (lambda c: c.pop('optimizer'), 'it has no optimizer'),
}


def test_resume__refuses_another_optimizer_state(saved, tmp_path, subtests):
    for number, (name, (change, words)) in enumerate(FAULTS.items()):
        with subtests.test(name=name):
            assert_refused(saved, change, words, tmp_path / str(number))


OPTIMIZERS = {
    'AdamW': dict(type='AdamW', lr=0.01),
    'AdamW, fused': dict(type='AdamW', lr=0.01, fused=True),
    'amsgrad': dict(type='Adam', lr=0.01, amsgrad=True),
    'SGD': dict(type='SGD', lr=0.01),
    'momentum': dict(type='SGD', lr=0.01, momentum=0.9, nesterov=True),
    'LARS': dict(type='mmcae.LARS', lr=0.01),
    'NAdam': dict(type='NAdam', lr=0.01),
    'RMSprop': dict(type='RMSprop', lr=0.01, momentum=0.9, centered=True),
    'Adafactor': dict(type='torch.optim.Adafactor', lr=0.01),
    'Rprop': dict(type='Rprop', lr=0.01),
}


def test_resume__optimizers_go_on_exactly(tmp_path, subtests):
    for number, (name, optimizer) in enumerate(OPTIMIZERS.items()):
        with subtests.test(name=name):
            assert_goes_on(optimizer, tmp_path / str(number))


def assert_goes_on(optimizer, folder):
    torch.manual_seed(0)
    whole = make_runner(folder, optimizer=optimizer)
    whole.train()
    runner = make_runner(folder / 'again', optimizer=optimizer)
    runner._resume = True
    runner._load_from = str(folder / 'epoch_1.pth')
    runner.train()
    assert runner.iter == 4
    for key, value in runner.model.state_dict().items():
        assert torch.equal(value, whole.model.state_dict()[key])


def test_resume__with_groups_and_their_base(tmp_path):
    paramwise = dict(custom_keys={'bias': dict(lr_mult=2.0)})

    def build(folder):
        runner = make_runner(folder)
        runner.optim_wrapper['paramwise_cfg'] = paramwise
        return runner

    build(tmp_path).train()
    checkpoint = read_checkpoint(tmp_path / 'epoch_1.pth')
    base = checkpoint['optimizer']['base_param_settings']
    assert len(checkpoint['optimizer']['param_groups']) > 1
    runner = build(tmp_path)
    runner.resume(str(tmp_path / 'epoch_1.pth'))
    assert runner.optim_wrapper.base_param_settings['lr'] == base['lr']
    base['lr'] = 'x'
    torch.save(checkpoint, tmp_path / 'changed.pth')
    with pytest.raises(ResumeError, match='base settings has lr=x'):
        build(tmp_path).resume(str(tmp_path / 'changed.pth'))


def test_resume__moments_get_the_layout_of_their_parameters(saved, tmp_path):
    checkpoint = copy.deepcopy(saved)
    moment = moments(checkpoint, 1)['exp_avg']
    assert moment.shape == (4, 3)
    moments(checkpoint, 1)['exp_avg'] = moment.t().contiguous().t()
    moments(checkpoint, 2)['exp_avg'] = torch.zeros(1).expand(4)
    runner, _ = resuming_runner(checkpoint, tmp_path)
    runner.resume(runner._load_from)
    state = runner.optim_wrapper.optimizer.state
    weight, bias = runner.model.linear.weight, runner.model.linear.bias
    assert state[weight]['exp_avg'].is_contiguous()
    assert torch.equal(state[weight]['exp_avg'], moment)
    assert state[bias]['exp_avg'].stride() == (1,)


def test_resume__older_files_lack_switches(saved, tmp_path):
    checkpoint = copy.deepcopy(saved)
    for key in ('fused', 'foreach', 'maximize', 'decoupled_weight_decay'):
        group(checkpoint).pop(key, None)
    group(checkpoint)['from_the_future'] = None
    for state in checkpoint['optimizer']['state'].values():
        state['step'] = int(state['step'])
    runner, _ = resuming_runner(checkpoint, tmp_path)
    runner.train()
    assert runner.iter == 4


def test_resume__scaler_of_the_loss(saved, tmp_path):
    checkpoint = copy.deepcopy(saved)
    runner, _ = resuming_runner(checkpoint, tmp_path)
    wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    wrapper.loss_scaler = torch.amp.GradScaler('cpu')
    runner.optim_wrapper = wrapper
    scale = wrapper.loss_scaler.state_dict()
    for given, words in (
        ({}, None),
        ({**scale, 'scale': 8.0}, None),
        ({**scale, 'scale': 'x'}, 'loss_scaler'),
        ({'scale': 8.0}, 'loss_scaler'),
    ):
        checkpoint['optimizer']['loss_scaler'] = given
        torch.save(checkpoint, runner._load_from)
        if words is None:
            runner.resume(runner._load_from)
        else:
            with pytest.raises(ResumeError, match=words):
                runner.resume(runner._load_from)


def test_resume__several_optimizers(tmp_path):
    layers = [torch.nn.Linear(2, 2) for _ in range(2)]

    def build():
        return OptimWrapperDict(
            **{
                name: OptimWrapper(torch.optim.Adam(layer.parameters()))
                for name, layer in zip('ab', layers, strict=True)
            }
        )

    wrapper = build()
    for layer in layers:
        layer(torch.ones(1, 2)).sum().backward()
    for part in wrapper.optim_wrappers.values():
        part.optimizer.step()
    state = copy.deepcopy(wrapper.state_dict())
    check_optimizer(build(), state)
    build().load_state_dict(state)
    state = copy.deepcopy(wrapper.state_dict())
    state['b']['state'][0]['exp_avg'] = torch.ones(1)
    with pytest.raises(ResumeError, match=r'exp_avg of parameter 0'):
        check_optimizer(build(), state)
    del state['b']
    with pytest.raises(ResumeError, match=r'are \(a\), and .* \(a, b\)'):
        check_optimizer(build(), state)
