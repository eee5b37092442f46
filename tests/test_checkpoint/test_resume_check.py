# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""What a resumed file may be: every fault is one sentence, and harmless."""

import copy

import numpy as np
import pytest
import torch
from helpers.resumed_runs import make_runner
from mmengine.logging import HistoryBuffer
from mmengine.runner._flexible_runner import FlexibleRunner

from mmcae.checkpoint.plain_values import ResumeError
from mmcae.checkpoint.reading import (
    UnreadableCheckpointError,
    UnsafeCheckpointError,
    read_checkpoint,
)


@pytest.fixture(scope='module')
def saved(tmp_path_factory):
    work_dir = tmp_path_factory.mktemp('saved')
    make_runner(work_dir).train()
    return read_checkpoint(work_dir / 'epoch_1.pth')


def resume(checkpoint, folder, **kwargs):
    path = folder / 'changed.pth'
    torch.save(checkpoint, path)
    runner = make_runner(folder / 'work', **kwargs)
    runner._resume, runner._load_from = True, str(path)
    before = copy.deepcopy(runner.model.state_dict())
    return runner, before


def log_of(capfd):
    captured = capfd.readouterr()
    return captured.out + captured.err


def moments(checkpoint, index=1):
    return checkpoint['optimizer']['state'][index]


def replace(part, key, change):
    part[key] = change(part[key])


def runtime(checkpoint):
    return checkpoint['message_hub']['runtime_info']


def set_moment(name, change, index=1):
    return lambda c: replace(moments(c, index), name, change)


def group(checkpoint):
    return checkpoint['optimizer']['param_groups'][0]


def first_scheduler(checkpoint):
    return checkpoint['param_schedulers'][0]


NARROW = r'exp_avg of parameter 1 .* is float32 \(2, 3\) and must be'
FAULTS = {
    # moments that fused kernels would read beyond
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
    # weights
    'a weight missing': (
        lambda c: c['state_dict'].pop('linear.bias'),
        r'1 of 3 tensors missing \(linear\.bias\)',
    ),
    'a weight of another shape': (
        lambda c: replace(c['state_dict'], 'linear.bias', lambda b: b[:2]),
        r'\(linear\.bias: \(2,\) instead of \(4,\)\)',
    ),
    'a weight more': (
        lambda c: c['state_dict'].update(more=torch.ones(1)),
        r'1 tensors that this model does not have \(more\)',
    ),
    'no weights': (lambda c: c.pop('state_dict'), 'no state_dict'),
    'averaged weights': (
        lambda c: c.update(ema_state_dict=[]),
        'ema_state_dict is a list',
    ),
    # numbers
    'no meta': (lambda c: c.pop('meta'), 'no meta'),
    'no epoch': (lambda c: c['meta'].pop('epoch'), 'no epoch'),
    'epoch is text': (lambda c: c['meta'].update(epoch='two'), 'epoch is two'),
    'epoch below 0': (lambda c: c['meta'].update(epoch=-5), 'epoch is -5'),
    'epoch is true': (lambda c: c['meta'].update(epoch=True), 'epoch is True'),
    'iter is a float': (lambda c: c['meta'].update(iter=2.0), r'iter is 2\.0'),
    'iter is huge': (lambda c: c['meta'].update(iter=2**60), 'iter is 1152'),
    'seed is text': (lambda c: c['meta'].update(seed='1'), 'seed is 1,'),
    'seed below 0': (lambda c: c['meta'].update(seed=-1), 'seed is -1'),
    # message hub
    'no hub': (lambda c: c.pop('message_hub'), 'no message_hub'),
    'hub is a list': (lambda c: c.update(message_hub=[]), 'hub is a list'),
    'half a hub': (
        lambda c: c['message_hub'].pop('resumed_keys'),
        'no resumed_keys',
    ),
    'key is a number': (
        lambda c: runtime(c).update({3: 4}),
        'is 3, not a string',
    ),
    # schedulers
    'no schedulers': (
        lambda c: c.pop('param_schedulers'),
        'param_schedulers are no list',
    ),
    'two schedulers': (
        lambda c: replace(c, 'param_schedulers', lambda s: s * 2),
        'are 2, and those of this config 1',
    ),
    'scheduler is text': (
        lambda c: c.update(param_schedulers=['x']),
        'is a str',
    ),
    'another scheduler': (
        lambda c: first_scheduler(c).update(eta_min=0),
        'eta_min, which LinearLR of this config does not have',
    ),
    'a method replaced': (
        lambda c: first_scheduler(c).update(step=1),
        'has step, which',
    ),
    'base values': (
        lambda c: first_scheduler(c).update(base_values=[]),
        'base_values is',
    ),
    'end is text': (lambda c: first_scheduler(c).update(end='x'), 'end is x'),
    'step below 0': (
        lambda c: first_scheduler(c).update(last_step=-7),
        'last_step is -7',
    ),
    'scheduler is empty': (
        lambda c: first_scheduler(c).clear(),
        '_global_step is None',
    ),
}


@pytest.mark.parametrize('name', FAULTS)
def test_resume__refuses_what_does_not_belong(saved, tmp_path, name):
    change, words = FAULTS[name]
    checkpoint = copy.deepcopy(saved)
    change(checkpoint)
    runner, before = resume(checkpoint, tmp_path)
    hooks = list(runner.hooks)
    with pytest.raises(ResumeError, match=words) as info:
        runner.train()
    message = str(info.value)
    assert message.startswith(f'Cannot resume from {tmp_path}/changed.pth: ')
    assert message.endswith('use load_from=FILE without resume.')
    assert '\n' not in message
    assert runner.hooks == hooks
    if name != 'a weight more':  # known when the others have been loaded
        for key, value in runner.model.state_dict().items():
            assert torch.equal(value, before[key])


def test_resume__refuses_what_are_no_tensors(saved, tmp_path):
    checkpoint = copy.deepcopy(saved)
    checkpoint['state_dict']['linear.bias'] = [0.0] * 4
    runner, _ = resume(checkpoint, tmp_path)
    with pytest.raises(UnreadableCheckpointError, match=r'linear\.bias: list'):
        runner.train()


def test_resume__refuses_what_the_reader_does(saved, tmp_path):
    sparse, listed = copy.deepcopy(saved), copy.deepcopy(saved)
    set_moment('exp_avg', torch.Tensor.to_sparse)(sparse)
    listed['meta'] = []
    for checkpoint, error, words in (
        (sparse, UnsafeCheckpointError, '_rebuild_sparse_tensor'),
        (listed, UnreadableCheckpointError, 'meta is a list'),
    ):
        runner, before = resume(checkpoint, tmp_path)
        with pytest.raises(error, match=words):
            runner.train()
        for key, value in runner.model.state_dict().items():
            assert torch.equal(value, before[key])


SGD = dict(type='SGD', lr=0.01)
DECAY = dict(
    type='LinearParamScheduler',
    param_name='weight_decay',
    by_epoch=False,
    end=20,
)
CHANGES = {
    'wider': (dict(model=dict(width=8)), r'\(4, 3\) instead of \(8, 3\)'),
    'narrower': (dict(model=dict(width=2)), r'\(4, 3\) instead of \(2, 3\)'),
    'more parts': (
        dict(model=dict(extra=True)),
        r'missing \(extra\)',
    ),
    'SGD': (dict(optimizer=SGD), r'settings \(.*betas.*\), and .*momentum'),
    'no scheduler': (
        dict(schedulers=[dict(type='LinearLR')] * 2),
        'are 1, and those of this config 2',
    ),
    'another scheduler': (
        dict(schedulers=[dict(type='CosineAnnealingLR', T_max=3)]),
        'which CosineAnnealingLR of this config does not have',
    ),
    'another quantity': (
        dict(schedulers=[DECAY]),
        'param_name is lr, where LinearParamScheduler of this config has',
    ),
}


@pytest.mark.parametrize('name', CHANGES)
def test_resume__refuses_with_another_config(saved, tmp_path, name):
    changes, words = CHANGES[name]
    runner, _ = resume(saved, tmp_path, **changes)
    with pytest.raises(ResumeError, match=words):
        runner.train()


OPTIMIZERS = {
    'AdamW': dict(type='AdamW', lr=0.01),
    'AdamW, fused': dict(type='AdamW', lr=0.01, fused=True),
    'amsgrad': dict(type='Adam', lr=0.01, amsgrad=True),
    'SGD': SGD,
    'momentum': dict(type='SGD', lr=0.01, momentum=0.9, nesterov=True),
    'LARS': dict(type='mmcae.LARS', lr=0.01),
    'NAdam': dict(type='NAdam', lr=0.01),
    'RMSprop': dict(type='RMSprop', lr=0.01, momentum=0.9, centered=True),
    'Adafactor': dict(type='torch.optim.Adafactor', lr=0.01),
    'Rprop': dict(type='Rprop', lr=0.01),
}


@pytest.mark.parametrize('name', OPTIMIZERS)
def test_resume__goes_on_exactly(tmp_path, name):
    optimizer = OPTIMIZERS[name]
    torch.manual_seed(0)
    whole = make_runner(tmp_path, optimizer=optimizer)
    whole.train()
    runner = make_runner(tmp_path / 'again', optimizer=optimizer)
    runner._resume = True
    runner._load_from = str(tmp_path / 'epoch_1.pth')
    runner.train()
    assert runner.iter == 4
    for key, value in runner.model.state_dict().items():
        assert torch.equal(value, whole.model.state_dict()[key])


SCHEDULERS = {
    'not begun': [
        dict(type='LinearLR', by_epoch=False, end=3),
        dict(type='CosineAnnealingLR', by_epoch=False, begin=3, T_max=5),
    ],
    'milestones': [dict(type='MultiStepLR', milestones=[1, 2])],
    'plateau': [dict(type='ReduceOnPlateauLR', monitor='error')],
    'restarts': [
        dict(
            type='CosineRestartLR',
            periods=[3, 4],
            restart_weights=[1.0, 0.5],
            eta_min=0.0,
            by_epoch=False,
        )
    ],
    'momentum': [dict(type='ConstantMomentum', factor=0.5, by_epoch=False)],
    'polynomial': [
        dict(type='PolyLR', end=2, convert_to_iter_based=True),
        DECAY,
    ],
    'none': [],
}


@pytest.mark.parametrize('name', SCHEDULERS)
def test_resume__schedulers_go_on_exactly(tmp_path, name):
    def build(folder):
        schedulers = copy.deepcopy(SCHEDULERS[name]) or None
        runner = make_runner(folder, epochs=3, schedulers=schedulers)
        if schedulers is None:
            runner.param_schedulers = None
        return runner

    torch.manual_seed(0)
    whole = build(tmp_path)
    whole.train()
    for epoch in (1, 2):
        runner = build(tmp_path / f'again_{epoch}')
        runner._resume = True
        runner._load_from = str(tmp_path / f'epoch_{epoch}.pth')
        runner.train()
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
    runner, _ = resume(checkpoint, tmp_path)
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
    runner, _ = resume(checkpoint, tmp_path)
    runner.train()
    assert runner.iter == 4


def test_resume__parts_that_are_not_wanted_are_not_checked(saved, tmp_path):
    checkpoint = copy.deepcopy(saved)
    del checkpoint['optimizer'], checkpoint['param_schedulers']
    runner, _ = resume(checkpoint, tmp_path)
    runner.resume(
        runner._load_from, resume_optimizer=False, resume_param_scheduler=False
    )
    assert runner.epoch == 1


def test_resume__scaler_of_the_loss(saved, tmp_path):
    checkpoint = copy.deepcopy(saved)
    runner, _ = resume(checkpoint, tmp_path)
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
    from mmengine.optim import OptimWrapper, OptimWrapperDict

    from mmcae.checkpoint.optimizer_check import check_optimizer

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


def test_resume__leaves_out_malformed_scalars(saved, tmp_path, capfd):
    checkpoint = copy.deepcopy(saved)
    hub = checkpoint['message_hub']
    good = set(hub['log_scalars'])
    crooked = HistoryBuffer([1.0, 2.0], [1, 1])
    crooked._count_history = np.ones(1)
    for key, value in {
        'train/\x1b[2Jforged\nline': HistoryBuffer([1.0], [1]),
        'train/crooked': crooked,
        'train/number': 3.0,
        'train/' + 'x' * 10_000: HistoryBuffer([1.0], [1]),
    }.items():
        hub['log_scalars'][key] = value
        hub['resumed_keys'][key] = True
    hub['runtime_info']['later'] = 1
    hub['resumed_keys'].update({'later': False, 'ghost\x1b[2J': True})
    runner, _ = resume(checkpoint, tmp_path)
    runner.train()
    text = log_of(capfd)
    assert '5 malformed entries of the resumed message_hub' in text
    assert '\x1b' not in text
    assert '\nline' not in text
    assert good <= set(runner.message_hub.log_scalars)
    assert not any('\x1b' in k for k in runner.message_hub.log_scalars)


def test_resume__does_not_run_the_text_of_a_config(saved, tmp_path, capfd):
    checkpoint = copy.deepcopy(saved)
    sentinel = tmp_path / 'executed'
    checkpoint['meta']['config'] = f'open({str(sentinel)!r}, "w").close()'
    runner, _ = resume(checkpoint, tmp_path)
    runner.train()
    assert not sentinel.exists()
    assert 'meta.config of the resumed' in log_of(capfd)


def test_inferencer__does_not_run_the_text_of_a_config(saved, tmp_path):
    from mmengine.infer import BaseInferencer

    class Inferencer(BaseInferencer):
        visualize = postprocess = _init_pipeline = None

    checkpoint = copy.deepcopy(saved)
    sentinel = tmp_path / 'executed'
    code = f'open({str(sentinel)!r}, "w").close()'
    checkpoint['message_hub']['runtime_info']['cfg'] = code
    torch.save(checkpoint, tmp_path / 'w.pth')
    with pytest.raises(ValueError, match='as model=CONFIG'):
        Inferencer(weights=str(tmp_path / 'w.pth'))
    assert not sentinel.exists()


def test_resume__says_that_nothing_is_left(saved, tmp_path, capfd):
    runner, _ = resume(saved, tmp_path, epochs=1)
    runner.train()
    text = log_of(capfd)
    assert 'Nothing is left to train: the checkpoint has 1 finished' in text


def test_resume__flexible_runner_checks_too(saved, tmp_path):
    checkpoint = copy.deepcopy(saved)
    for change, words in (
        (lambda c: None, None),
        FAULTS['narrower'],
        FAULTS['epoch is text'],
    ):
        change(checkpoint)
        path = tmp_path / 'changed.pth'
        torch.save(checkpoint, path)
        runner = make_runner(
            tmp_path / 'work',
            kind=FlexibleRunner,
            resume=str(path),
            load_from=None,
        )
        if words is None:
            runner.train()
            assert runner.iter == 4
            continue
        with pytest.raises(ResumeError, match=words):
            runner.train()
        checkpoint = copy.deepcopy(saved)
