# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""A run goes on when its logs cannot be written, and says so once."""

import errno
import json
import logging
import os
import resource
import signal
import sys
import time
import types
from typing import ClassVar

import numpy as np
import pytest
from helpers.token_runs import config
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner as MMEngineRunner
from mmengine.visualization import (
    LocalVisBackend,
    TensorboardVisBackend,
    Visualizer,
)
from mmengine.visualization.vis_backend import BaseVisBackend
from PIL import Image

from mmcae.launch import tolerant_logs
from mmcae.launch.runner import build_runner
from mmcae.launch.tolerant_logs import LogWrites, Runner, TolerantVisBackend
from mmcae.registry import RUNNERS

REFUSED = range(2, 7)


@pytest.fixture
def photos(tmp_path):
    """Ten images."""
    rng = np.random.default_rng(0)
    (tmp_path / 'photos').mkdir()
    for number in range(10):
        img = Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8))
        img.resize((40, 40)).save(tmp_path / f'photos/{number}.png')
    return tmp_path / 'photos'


@pytest.fixture
def disk():
    """Call it with a size that no file may exceed; None is no limit.

    A test must end without a limit, also one that fails: pytest writes about
    it before this fixture ends.
    """
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    former = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size: int | None) -> None:
        soft = former[0] if size is None else size
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, former[1]))

    yield limit
    limit(None)
    signal.signal(signal.SIGXFSZ, handler)


class FillDisk(Hook):
    """Fills the disk for some iterations."""

    priority = 'VERY_HIGH'

    def __init__(self, limit) -> None:
        self.limit = limit

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        self.limit(1 if runner.iter in REFUSED else None)


def logged_config(photos, folder, **options) -> Config:
    """Log each of the ten iterations."""
    return config(
        photos,
        folder,
        train_cfg__max_epochs=2,
        train_dataloader__batch_size=2,
        default_hooks__checkpoint=dict(
            type='mmcae.CheckpointHook', interval=9, save_last=False
        ),
        default_hooks__logger=dict(type='LoggerHook', interval=1),
        visualizer=dict(
            type='Visualizer', vis_backends=[dict(type='LocalVisBackend')]
        ),
        log_level='INFO',
        **options,
    )


def steps_in(path) -> list[int]:
    return [json.loads(line)['step'] for line in path.open()]


def test_full_disk__costs_lines_of_the_log_and_one_warning(
    photos, tmp_path, disk, capsys
):
    runner = build_runner(logged_config(photos, tmp_path))
    runner.register_hook(FillDisk(disk))
    try:
        runner.train()
    finally:
        disk(None)
    assert runner.iter == 10
    console = capsys.readouterr()
    assert 'Logging error' not in console.err
    assert 'Traceback' not in console.err
    warnings = [
        line for line in console.out.splitlines() if 'Could not write' in line
    ]
    assert len(warnings) == 1
    assert 'File too large' in warnings[0]
    assert 'bytes are needed' in warnings[0]
    assert 'bytes are free' in warnings[0]
    assert 'The logs are written again' in console.out
    # before and after, but nothing from the full disk
    (scalars,) = tmp_path.glob('*/vis_data/scalars.json')
    assert steps_in(scalars) == [1, 2, 8, 9, 10]
    (log,) = tmp_path.glob('*/*.log')
    text = log.read_text()
    assert 'Epoch(train) [1][2/5]' in text
    assert 'Epoch(train) [2][5/5]' in text
    assert 'The logs are written again' in text


def test_full_disk__at_the_start_keeps_the_former_config(
    photos, tmp_path, disk
):
    cfg = logged_config(photos, tmp_path)
    recipe = tmp_path / 'elsewhere' / 'recipe.py'
    recipe.parent.mkdir()
    cfg.dump(recipe)
    cfg = Config.fromfile(recipe)
    build_runner(cfg.copy())
    former = (tmp_path / 'recipe.py').read_text()
    assert former == cfg.pretty_text
    cfg.experiment_name = 'other'
    disk(1)
    try:
        runner = build_runner(cfg)
    finally:
        disk(None)
    runner.train()
    assert runner.iter == 10
    assert (tmp_path / 'recipe.py').read_text() == former
    assert not list(tmp_path.glob('.*part'))


def test_start__in_a_folder_that_is_read_only_is_an_error(
    photos, tmp_path, monkeypatch
):
    def refuse(*args):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(tolerant_logs, 'write_durably', refuse)
    with pytest.raises(OSError, match='Read-only'):
        build_runner(logged_config(photos, tmp_path))


def test_runner__without_faults_logs_the_same_as_mmengine(photos, tmp_path):
    files = []
    for kind in (MMEngineRunner, Runner):
        cfg = logged_config(photos, tmp_path / kind.__module__)
        cfg.experiment_name = kind.__module__
        kind.from_cfg(cfg).train()
        (scalars,) = (tmp_path / kind.__module__).glob('*/vis_data/s*.json')
        lines = [json.loads(line) for line in scalars.open()]
        files.append([(one['step'], one['loss']) for one in lines])
        assert len(list(scalars.parent.iterdir())) == 3
        (config_file,) = (tmp_path / kind.__module__).glob('*.py')
        assert config_file.read_text() == cfg.pretty_text
    assert files[0] == files[1]


def test_runner__is_registered():
    assert RUNNERS.get('mmcae.Runner') is Runner


class Handler(logging.Handler):
    """Keeps the messages."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def emit(self, record) -> None:
        self.said.append(record.getMessage())


@pytest.fixture
def writes(tmp_path):
    logger = logging.Logger('tolerant')
    logger.addHandler(Handler())
    return LogWrites(str(tmp_path), logger)


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_log_writes__warn_once_for_several_logs(writes):
    said = writes.logger.handlers[0].said
    for _ in range(3):
        writes.failed('a.log', 100, FULL)
        writes.failed('scalars.json', 200, FULL)
    writes.worked('a.log')
    assert len(said) == 1
    assert said[0].startswith('Could not write a.log: No space left')
    assert 'about 100 bytes are needed' in said[0]
    writes.worked('scalars.json')
    assert said[1:] == ['The logs are written again; 6 writes failed.']


def test_log_writes__do_not_warn_at_every_change(writes, monkeypatch):
    said = writes.logger.handlers[0].said
    for _ in range(5):
        writes.failed('a.log', 100, FULL)
        writes.worked('a.log')
    assert sum('Could not' in line for line in said) == 1
    monkeypatch.setattr(tolerant_logs, 'QUIET_SECONDS', 0.0)
    writes.failed('a.log', 100, FULL)
    assert sum('Could not' in line for line in said) == 2


def test_log_writes__name_the_bytes_of_a_folder_that_is_gone(writes):
    writes.folder = '/no/such/folder'
    writes.failed('a.log', 100, OSError(errno.ENOENT, 'gone'))
    assert 'an unknown number of bytes' in writes.logger.handlers[0].said[0]


def test_handler__shows_other_errors_as_before(writes, capsys):
    class Broken(logging.StreamHandler):
        def format(self, record):
            raise ZeroDivisionError

    handler = Broken(sys.stdout)
    writes.watch(handler)
    handler.handle(logging.makeLogRecord({'msg': 'text'}))
    assert 'ZeroDivisionError' in capsys.readouterr().err
    assert writes.logger.handlers[0].said == []


class Backend(BaseVisBackend):
    """Refuses some writes; `add_scalars` calls `add_scalar`."""

    def __init__(self) -> None:
        super().__init__('folder')
        self.refuses = False
        self.values: list = []

    experiment = property(lambda self: 'the experiment')

    def _init_env(self) -> None:
        pass

    def add_scalar(self, name, value, step=0, **kwargs) -> None:
        if self.refuses:
            raise FULL
        self.values.append((name, value, step))

    def add_scalars(self, scalar_dict, step=0, file_path=None, **kw) -> None:
        for name, value in scalar_dict.items():
            self.add_scalar(name, value, step)


def test_backend__passes_everything_on(writes):
    inner = Backend()
    backend = TolerantVisBackend(inner, 'inner', writes)
    backend.add_scalars(dict(a=1), step=2, file_path='x.json')
    backend.add_scalar('b', 3, step=4)
    backend.close()
    assert inner.values == [('a', 1, 2), ('b', 3, 4)]
    assert backend.experiment == 'the experiment'
    assert backend.values is inner.values
    inner.refuses = True
    backend.add_scalars(dict(a=1, c=2))
    inner.refuses = False
    backend.add_scalars(dict(a=5))
    said = writes.logger.handlers[0].said
    assert 'Could not write inner' in said[0]
    assert said[1:] == ['The logs are written again; 1 writes failed.']
    assert inner.values[2:] == [('a', 5, 0)]


def test_backend__of_another_run_is_not_wrapped_twice(photos, tmp_path):
    """The visualizer of a former run may be given to the next one."""
    inner = Backend()
    visualizer = Visualizer('shared', vis_backends=[inner])
    for number in range(2):
        cfg = logged_config(photos, tmp_path)
        cfg.experiment_name = f'shared {number}'
        runner = Runner.from_cfg(cfg)
        assert runner.build_visualizer(visualizer) is visualizer
    (backend,) = visualizer._vis_backends.values()
    assert backend._backend is inner
    assert backend._writes is runner._log_writes


def test_local_backend__leaves_no_torn_line(writes, tmp_path, disk):
    inner = LocalVisBackend(str(tmp_path / 'logs'))
    backend = TolerantVisBackend(inner, 'local', writes)
    backend.add_scalars(dict(a=1), 1, file_path='x.json')
    files = [tmp_path / 'logs' / name for name in ('scalars.json', 'x.json')]
    former = [file.read_text() for file in files]
    disk(len(former[0]) + 5)
    try:
        backend.add_scalars(dict(a=2), 2, file_path='x.json')
    finally:
        disk(None)
    assert len(writes.logger.handlers[0].said) == 1
    assert [file.read_text() for file in files] == former
    backend.add_scalars(dict(a=3), 3, file_path='x.json')
    assert [steps_in(file) for file in files] == [[1, 3], [1, 3]]


class Writer:
    """Stands in for TensorBoard's writer, whose thread ends with an error."""

    made: ClassVar[list['Writer']] = []
    full = False

    def __init__(self, folder) -> None:
        self.error: OSError | None = None
        self.values: list[int] = []
        self.made.append(self)

    def add_scalar(self, name, value, step) -> None:
        if self.error:
            raise self.error
        if self.full:
            self.error = FULL
            raise FULL
        self.values.append(value)

    def close(self) -> None:
        if self.error:
            raise self.error


def test_tensorboard__gets_a_new_writer_after_a_full_disk(
    writes, tmp_path, monkeypatch
):
    module = types.SimpleNamespace(SummaryWriter=Writer)
    monkeypatch.setitem(sys.modules, 'torch.utils.tensorboard', module)
    backend = TolerantVisBackend(
        TensorboardVisBackend(str(tmp_path)), 'tensorboard', writes
    )
    for value in range(6):
        monkeypatch.setattr(Writer, 'full', value == 1)
        if value == 4:
            monkeypatch.setattr(backend, '_retry_at', time.monotonic())
        backend.add_scalars(dict(a=value), value)
    backend.close()
    # 2 and 3 come before the next attempt
    assert [writer.values for writer in Writer.made] == [[0], [4, 5]]
    assert len(writes.logger.handlers[0].said) == 2
