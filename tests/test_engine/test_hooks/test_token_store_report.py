# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""What `TokenStoreHook` stores and logs, tested without a training."""

import logging
from types import SimpleNamespace

import pytest
import torch
from mmengine.runner import EpochBasedTrainLoop
from mmpretrain.structures import DataSample

from mmcae.config.check import ConfigError
from mmcae.datasets import SampleIndex, TokenStore
from mmcae.engine.hooks import TokenStoreHook

MODULE = 'mmcae.engine.hooks.token_store_hook'
HEADER = dict(
    format=1,
    tokenizer=dict(vocab_size=50),
    dataset=dict(images=8),
    grid=[2, 2],
    seed=0,
    view_pool=0,
)


class Loop(EpochBasedTrainLoop):
    def __init__(self):
        pass

    dataloader = SimpleNamespace(dataset=None, sampler=None)


class Lines(logging.Logger):
    def __init__(self):
        super().__init__('lines')
        self.lines = []

    def handle(self, record):
        self.lines.append(record.getMessage())


class Model:
    """The part of a CAE that the hook uses."""

    data_preprocessor = None

    def __init__(self):
        self.target_generator = 1
        self.listeners = {}
        self.add_token_listener = self.listeners.setdefault
        self.remove_token_listener = lambda key: self.listeners.pop(key, None)


@pytest.fixture
def runner(monkeypatch):
    monkeypatch.setattr(f'{MODULE}.run_header', lambda *_: HEADER)
    return SimpleNamespace(model=Model(), train_loop=Loop(), logger=Lines())


def sample(index, stands_in=False):
    identity = SampleIndex(index, (0, 0, index), stands_in=stands_in)
    return DataSample(metainfo=dict(sample_idx=identity))


def iterate(hook, runner, computed, stored=()):
    """Run one iteration with computed and with stored tokens."""
    tokens = torch.arange(4).expand(len(computed), 4)
    if computed:
        (listener,) = runner.model.listeners
        listener(computed, tokens)
    hook.after_train_iter(
        runner, 0, dict(data_samples=[*computed, *stored]), {}
    )


def test_after_train_iter__stores_samples_with_an_identity(runner, tmp_path):
    hook = TokenStoreHook(str(tmp_path / 'store'))
    hook.before_train(runner)
    foreign = DataSample(metainfo=dict(sample_idx=3))
    others = [sample(2, stands_in=True), foreign, DataSample()]
    iterate(hook, runner, [sample(1), *others, sample(5)])
    store = TokenStore.open(tmp_path / 'store')
    assert store.missing(0, range(8)) == [0, 2, 3, 4, 6, 7]
    assert store.read((0, 0, 5)).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize('by_epoch', [True, False])
def test_report__counts_each_epoch_separately(runner, tmp_path, by_epoch):
    hook = TokenStoreHook(str(tmp_path / 'store'))
    hook.before_train(runner)
    if not by_epoch:
        runner.train_loop = SimpleNamespace()
    end = hook.after_train_epoch if by_epoch else hook.after_train
    runner.logger.lines.clear()
    iterate(hook, runner, [sample(1), sample(2)], [sample(3)])
    iterate(hook, runner, [sample(4)])
    end(runner)
    iterate(hook, runner, [], [sample(1), sample(2)])
    end(runner)
    if by_epoch:
        hook.after_train(runner)  # nothing more
    assert runner.logger.lines == [
        'Token store: 1 of 4 views (25.0%) came with their tokens',
        'Token store: 2 of 2 views (100.0%) came with their tokens',
    ]


def test_after_train_iter__stops_writing_after_a_failure(
    runner, tmp_path, monkeypatch
):
    tried = []

    def full(self, view, tokens):
        tried.append(view)
        raise OSError(28, 'No space left on device')

    hook = TokenStoreHook(str(tmp_path / 'store'))
    hook.before_train(runner)
    monkeypatch.setattr(TokenStore, 'write', full)
    for index in range(3):
        iterate(hook, runner, [sample(index)])
    assert tried == [(0, 0, 0)]
    hook.after_train_epoch(runner)
    assert '0 of 3 views' in runner.logger.lines[-1]


def test_after_train__removes_the_listener(runner, tmp_path):
    hook = TokenStoreHook(str(tmp_path / 'store'))
    hook.before_train(runner)
    assert len(runner.model.listeners) == 1
    hook.after_train(runner)
    assert not runner.model.listeners


def test_before_train__looks_into_a_wrapper(runner, tmp_path, monkeypatch):
    monkeypatch.setattr(
        'mmcae.checkpoint.unwrap.is_model_wrapper',
        lambda model: hasattr(model, 'module'),
    )
    inner = runner.model
    runner.model = SimpleNamespace(module=inner)
    hook = TokenStoreHook(str(tmp_path / 'store'))
    hook.before_train(runner)
    (listener,) = inner.listeners
    listener([sample(1)], torch.zeros(1, 4, dtype=torch.int64))
    hook.after_train_iter(runner, 0, dict(data_samples=[sample(1)]), {})
    assert TokenStore.open(tmp_path / 'store').missing(0, [1]) == []
    assert runner.logger.lines[0].endswith(
        'store: 4 tokens a view, 96 bytes an epoch'
    )


@pytest.mark.parametrize('lacking', ['target_generator', 'add_token_listener'])
def test_before_train__needs_a_cae_with_a_tokenizer(runner, tmp_path, lacking):
    delattr(runner.model, lacking)
    hook = TokenStoreHook(str(tmp_path / 'store'))
    with pytest.raises(ConfigError, match=r'needs model\.type=mmcae\.CAE'):
        hook.before_train(runner)
    assert not (tmp_path / 'store').exists()
