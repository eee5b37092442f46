# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Thousands of randomly changed copies of real checkpoints, with seeds."""

import random
from collections import Counter
from functools import partial

import pytest
import safetensors.torch
import torch
from helpers import corpus
from helpers.corpus.entry import Entry, harmless
from helpers.corpus.honest import saved
from helpers.judge import judged
from helpers.mutations import mutant, pickle_mutant
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn

from mmcae.checkpoint.dalle_pickle import read_module_pickle
from mmcae.checkpoint.decoding import decode_checkpoint
from mmcae.checkpoint.reading import read_checkpoint

SLOW, FAST = 300, 20  # mutants of each form


class Model(BaseModel):
    """A few layers with parameters and buffers."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))

    def forward(self, x, mode='tensor'):
        return dict(loss=self.layers(x).pow(2).mean())


class Items(torch.utils.data.Dataset):
    """Eight samples."""

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return dict(x=torch.full((3,), float(index)))


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    """The file of a Runner: weights, optimizer, schedulers, logs, meta."""
    folder = tmp_path_factory.mktemp('runner')
    loader = dict(
        batch_size=4,
        dataset=Items(),
        sampler=dict(type='DefaultSampler', shuffle=True),
        collate_fn=dict(type='default_collate'),
    )
    runner = Runner(
        model=Model(),
        work_dir=str(folder),
        train_dataloader=loader,
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=1e-3)),
        param_scheduler=[dict(type='CosineAnnealingLR', T_max=3)],
        train_cfg=dict(by_epoch=True, max_epochs=3),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook')),
        randomness=dict(seed=0),
        experiment_name='mutants',
        cfg=dict(work_dir=str(folder)),
        log_level='ERROR',
    )
    runner.register_hook(Hook())
    runner.train()
    return folder / 'epoch_3.pth'


def test_read_checkpoint__reads_what_a_runner_writes(checkpoint):
    found = read_checkpoint(checkpoint)
    wanted = torch.load(checkpoint, weights_only=False)
    assert found.keys() == wanted.keys()
    assert found['optimizer'].keys() == wanted['optimizer'].keys()
    for key, value in wanted['state_dict'].items():
        assert torch.equal(found['state_dict'][key], value), key
    for index, state in wanted['optimizer']['state'].items():
        for key, value in state.items():
            assert torch.equal(found['optimizer']['state'][index][key], value)
    logs = found['message_hub']['log_scalars']
    for key, history in wanted['message_hub']['log_scalars'].items():
        for one, other in zip(logs[key].data, history.data, strict=True):
            assert (one == other).all(), key
    assert found['meta'] == wanted['meta']


def originals(checkpoint):
    """Real files by form, with the function that changes them."""
    content = read_checkpoint(checkpoint)
    module = {e.name.rpartition('_')[2]: e for e in corpus.module_pickles()}
    small = saved({'state_dict': Model().state_dict(), 'meta': dict(epoch=3)})
    weights = {k: v.contiguous() for k, v in content['state_dict'].items()}
    tensors = safetensors.torch.save(weights, {'epoch': '3'})
    return {
        'zip': (checkpoint.read_bytes(), mutant, '.pth'),
        'pickle': (checkpoint.read_bytes(), pickle_mutant, '.pth'),
        'small_pickle': (small, pickle_mutant, '.pth'),
        'legacy': (saved(content, 'legacy'), mutant, '.pth'),
        'safetensors': (tensors, mutant, '.safetensors'),
        'module': (module['zip'].content(), pickle_mutant, '.pkl'),
        'old_module': (module['legacy'].content(), mutant, '.pkl'),
    }


def changed(content, change, seed):
    return change(content, random.Random(seed))


def mutants(checkpoint, form, count):
    content, change, suffix = originals(checkpoint)[form]
    return [
        harmless(
            f'{form}/{seed}', partial(changed, content, change, seed), suffix
        )
        for seed in range(count)
    ]


FORMS = (
    'zip', 'pickle', 'small_pickle', 'legacy', 'safetensors', 'module',
    'old_module',
)  # fmt: skip


@pytest.mark.parametrize(
    'count', [FAST, pytest.param(SLOW, marks=pytest.mark.slow)]
)
def test_mutants(checkpoint, count, tmp_path, capsys, subtests):
    for form in FORMS:
        with subtests.test(form=form):
            judge_mutants(checkpoint, form, count, tmp_path, capsys)


def judge_mutants(checkpoint, form, count, tmp_path, capsys):
    def reader(content, path):
        if 'module' in form:
            return read_module_pickle(path)
        return decode_checkpoint(content, path)

    entries: list[Entry] = mutants(checkpoint, form, count)
    fates: Counter = Counter()
    faults = judged(
        entries, reader, tmp_path / 'executed', folder=tmp_path, fates=fates
    )
    with capsys.disabled():
        print(f'\n{count} mutants of {form}: {dict(fates)}')
    assert not faults, '\n'.join(f'{k}: {v}' for k, v in faults.items())
    assert sum(fates.values()) == count


def test_mutants__depend_on_the_seed_only(checkpoint):
    content = checkpoint.read_bytes()
    for change in (mutant, pickle_mutant):
        made = {changed(content, change, seed) for seed in range(50)}
        again = {changed(content, change, seed) for seed in range(50)}
        assert made == again
        assert len(made) > 45
