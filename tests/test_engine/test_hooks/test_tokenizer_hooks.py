# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The hooks for the tokenizer of a run and for its temperature."""

import logging
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from mmcae.checkpoint.reading import write_weights
from mmcae.checkpoint.tokenizer_weights import load_tokenizer_weights
from mmcae.engine import TemperatureHook, TokenizerRecordHook
from mmcae.models import DVAE


def tokenizer(seed=0):
    torch.manual_seed(seed)
    return DVAE(vocab_size=8, downsample=2)


def runner_of(target_generator, resume=False):
    model = nn.Module()
    if target_generator is not None:
        model.target_generator = target_generator
    return SimpleNamespace(
        model=model, _resume=resume, logger=logging.getLogger('test')
    )


def record_of(target_generator):
    checkpoint = {'meta': {'epoch': 1}}
    hook = TokenizerRecordHook()
    hook.before_save_checkpoint(runner_of(target_generator), checkpoint)
    return checkpoint


def test_before_save_checkpoint__records_the_tokenizer(tmp_path):
    digest = write_weights(tokenizer().state_dict(), tmp_path / 't.pth')
    module = tokenizer(1)
    load_tokenizer_weights(module, tmp_path / 't.pth')
    meta = record_of(module)['meta']
    weights = meta['tokenizer'].pop('weights')
    assert len(weights) == 64
    assert meta == {
        'epoch': 1,
        'tokenizer': {
            'type': 'DVAE',
            'vocab_size': 8,
            'file': 't.pth',
            'sha256': digest,
        },
    }


def test_after_load_checkpoint__refuses_another_tokenizer():
    checkpoint = record_of(tokenizer(0))
    same, other = tokenizer(0), tokenizer(1)
    hook = TokenizerRecordHook
    hook().after_load_checkpoint(runner_of(same, resume=True), checkpoint)
    with pytest.raises(RuntimeError, match=r'another tokenizer.*8 codes'):
        hook().after_load_checkpoint(runner_of(other, resume=True), checkpoint)


def test_after_load_checkpoint__only_logs_it_in_a_new_run(caplog):
    checkpoint = record_of(tokenizer(0))
    with caplog.at_level(logging.INFO):
        TokenizerRecordHook().after_load_checkpoint(
            runner_of(tokenizer(1)), checkpoint
        )
    assert 'Another tokenizer than before' in caplog.text


def test_after_load_checkpoint__file_format_does_not_matter(tmp_path):
    weights = tokenizer().state_dict()
    records = []
    for name in ('t.pth', 't.safetensors'):
        write_weights(weights, tmp_path / name)
        module = tokenizer(1)
        load_tokenizer_weights(module, tmp_path / name)
        records.append((module, record_of(module)))
    assert (
        records[0][1]['meta']['tokenizer']['sha256']
        != records[1][1]['meta']['tokenizer']['sha256']
    )
    TokenizerRecordHook().after_load_checkpoint(
        runner_of(records[1][0], resume=True), records[0][1]
    )


def test_tokenizer_record_hook__ignores_other_models():
    hook, checkpoint = TokenizerRecordHook(), {'meta': {}}
    hook.before_save_checkpoint(runner_of(None), checkpoint)
    assert checkpoint == {'meta': {}}
    recorded = record_of(tokenizer())
    hook.after_load_checkpoint(runner_of(None, resume=True), recorded)
    hook.after_load_checkpoint(runner_of(tokenizer(), resume=True), {})


def test_temperature_hook__follows_the_iteration_also_after_resume():
    model = tokenizer()
    runner = SimpleNamespace(model=model, iter=0, max_iters=200)
    hook = TemperatureHook()
    hook.before_train(runner)
    assert model.temperature == 1.0
    runner.iter = 100
    TemperatureHook().before_train(runner)
    assert model.temperature == pytest.approx(0.2**0.5)
    runner.iter = 150
    hook.before_train_iter(runner, 0)
    assert model.temperature == pytest.approx(0.2**0.75)


def test_temperature_hook__names_a_model_that_cannot_anneal():
    runner = SimpleNamespace(model=nn.Linear(1, 1), iter=0, max_iters=1)
    with pytest.raises(TypeError, match='Linear has no set_progress'):
        TemperatureHook().before_train(runner)
