# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
import logging
from types import SimpleNamespace

import pytest
import torch
from mmengine.dataset import ConcatDataset, RepeatDataset
from mmengine.logging import MessageHub
from torch.utils.data import DataLoader, Subset

from mmcae.datasets import FolderDataset
from mmcae.engine.hooks.data_health_hook import DataHealthHook, find_datasets
from mmcae.registry import HOOKS

LOAD = [dict(type='mmcae.LoadImage')]


@pytest.fixture
def runner(photos, tmp_path):
    data = FolderDataset(str(photos), pipeline=LOAD)
    logger = logging.getLogger(str(tmp_path))
    logger.setLevel(logging.INFO)
    return SimpleNamespace(
        train_loop=SimpleNamespace(
            dataloader=DataLoader(ConcatDataset([data, data]))
        ),
        message_hub=MessageHub(str(tmp_path)),
        logger=logger,
        data=data,
    )


def test_hook__logs_the_number_of_unreadable_files(photos, runner, caplog):
    runner.train_loop.dataloader = DataLoader(runner.data)
    hook = HOOKS.build(dict(type='mmcae.DataHealthHook'))
    hook.before_train(runner)
    runner.data[0]
    hook.after_train_iter(runner, 0)
    assert 'train/unreadable' not in runner.message_hub.log_scalars
    for count, path in enumerate(sorted(photos.rglob('*.png'))[:2], 1):
        path.write_bytes(b'')
        runner.data[count - 1]
        hook.after_train_iter(runner, count)
        scalar = runner.message_hub.get_scalar('train/unreadable')
        assert scalar.current() == count
    hook.after_train_epoch(runner)
    with caplog.at_level(logging.INFO):
        hook.after_train(runner)
    assert 'Unreadable files met in training: 2 of 11' in caplog.text
    assert '00.png (' in caplog.text


def test_hook__reports_that_all_files_are_readable(runner, caplog):
    hook = DataHealthHook()
    hook.before_train(runner)
    with caplog.at_level(logging.INFO):
        hook.after_train(runner)
    assert caplog.records[0].levelname == 'INFO'
    assert 'met in training: 0 of 11' in caplog.text


def test_hook__collects_files_from_other_processes(
    runner, caplog, monkeypatch
):
    module = 'mmcae.engine.hooks.data_health_hook'
    monkeypatch.setattr(f'{module}.get_world_size', lambda: 2)

    def other_process_met_number_3(flags, op):
        assert op == 'max'
        flags[3] = 1

    monkeypatch.setattr(f'{module}.all_reduce', other_process_met_number_3)
    runner.train_loop.dataloader = DataLoader(runner.data)
    hook = DataHealthHook()
    hook.before_train(runner)
    with caplog.at_level(logging.INFO):
        hook.after_train_epoch(runner)
        hook.after_train_epoch(runner)
    assert caplog.text.count('met by another process') == 1
    assert runner.data.num_unreadable == 1


def test_find_datasets__looks_through_wrappers(photos):
    data = FolderDataset(str(photos), pipeline=LOAD)
    other = FolderDataset(str(photos), 'part0', pipeline=LOAD)
    assert list(find_datasets(RepeatDataset(data, 2))) == [data]
    assert list(find_datasets(Subset(data, [0]))) == [data]
    assert list(find_datasets(ConcatDataset([data, other]))) == [data, other]
    assert list(find_datasets(torch.utils.data.Dataset())) == []


def test_hook__refuses_a_loader_without_a_batch(runner):
    runner.train_loop.dataloader = DataLoader(
        runner.data, batch_size=64, drop_last=True
    )
    with pytest.raises(ValueError, match=r'11 training images .* 64'):
        DataHealthHook().before_train(runner)
