# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Everything in a resumed file but its optimizer: a fault is one sentence."""

import copy

import numpy as np
import pytest
import torch
from helpers.resumed_runs import assert_refused, make_runner, resuming_runner
from mmengine.infer import BaseInferencer
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
    """The checkpoint of a run after the first of two epochs."""
    work_dir = tmp_path_factory.mktemp('saved')
    make_runner(work_dir).train()
    return read_checkpoint(work_dir / 'epoch_1.pth')


def log_of(capfd):
    captured = capfd.readouterr()
    return captured.out + captured.err


def replace(part, key, change):
    part[key] = change(part[key])


def runtime(checkpoint):
    return checkpoint['message_hub']['runtime_info']


def first_scheduler(checkpoint):
    return checkpoint['param_schedulers'][0]


FAULTS = {
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


def test_resume__refuses_what_does_not_belong(saved, tmp_path, subtests):
    for number, (name, (change, words)) in enumerate(FAULTS.items()):
        with subtests.test(name=name):
            assert_refused(
                saved,
                change,
                words,
                tmp_path / str(number),
                # Known only when the other weights have been loaded.
                loads_first=name == 'a weight more',
            )


def test_resume__refuses_weights_that_are_not_tensors(saved, tmp_path):
    checkpoint = copy.deepcopy(saved)
    checkpoint['state_dict']['linear.bias'] = [0.0] * 4
    runner, _ = resuming_runner(checkpoint, tmp_path)
    with pytest.raises(UnreadableCheckpointError, match=r'linear\.bias: list'):
        runner.train()


def test_resume__the_reader_refuses_other_objects(saved, tmp_path):
    sparse, listed = copy.deepcopy(saved), copy.deepcopy(saved)
    moments = sparse['optimizer']['state'][1]
    moments['exp_avg'] = moments['exp_avg'].to_sparse()
    listed['meta'] = []
    for checkpoint, error, words in (
        (sparse, UnsafeCheckpointError, '_rebuild_sparse_tensor'),
        (listed, UnreadableCheckpointError, 'meta is a list'),
    ):
        runner, before = resuming_runner(checkpoint, tmp_path)
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


def test_resume__refuses_with_another_config(saved, tmp_path, subtests):
    for number, (name, (changes, words)) in enumerate(CHANGES.items()):
        with subtests.test(name=name):
            folder = tmp_path / str(number)
            runner, _ = resuming_runner(saved, folder, **changes)
            with pytest.raises(ResumeError, match=words):
                runner.train()


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


def test_resume__schedulers_go_on_exactly(tmp_path, subtests):
    for number, name in enumerate(SCHEDULERS):
        with subtests.test(name=name):
            assert_schedulers_go_on(name, tmp_path / str(number))


def assert_schedulers_go_on(name, tmp_path):
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


def test_resume__checks_only_the_parts_that_are_resumed(saved, tmp_path):
    checkpoint = copy.deepcopy(saved)
    del checkpoint['optimizer'], checkpoint['param_schedulers']
    runner, _ = resuming_runner(checkpoint, tmp_path)
    runner.resume(
        runner._load_from, resume_optimizer=False, resume_param_scheduler=False
    )
    assert runner.epoch == 1


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
    runner, _ = resuming_runner(checkpoint, tmp_path)
    runner.train()
    text = log_of(capfd)
    assert '5 malformed entries of the resumed message_hub' in text
    assert '\x1b' not in text
    assert '\nline' not in text
    assert good <= set(runner.message_hub.log_scalars)
    assert not any('\x1b' in k for k in runner.message_hub.log_scalars)


def test_resume__does_not_run_the_config_in_a_file(saved, tmp_path, capfd):
    checkpoint = copy.deepcopy(saved)
    sentinel = tmp_path / 'executed'
    checkpoint['meta']['config'] = f'open({str(sentinel)!r}, "w").close()'
    runner, _ = resuming_runner(checkpoint, tmp_path)
    runner.train()
    assert not sentinel.exists()
    assert 'meta.config of the resumed' in log_of(capfd)


def test_inferencer__does_not_run_the_config_in_a_file(saved, tmp_path):
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
    runner, _ = resuming_runner(saved, tmp_path, epochs=1)
    runner.train()
    text = log_of(capfd)
    assert 'Nothing is left to train: the checkpoint has 1 finished' in text


def short_moment(checkpoint):
    moments = checkpoint['optimizer']['state'][1]
    moments['exp_avg'] = moments['exp_avg'][:2].clone()


def test_resume__flexible_runner_checks_too(saved, tmp_path):
    checkpoint = copy.deepcopy(saved)
    for change, words in (
        (lambda c: None, None),
        (short_moment, 'exp_avg of parameter 1'),
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
