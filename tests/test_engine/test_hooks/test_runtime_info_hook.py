# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Deferred losses reach the log, and none is lost."""

import json
import math

import pytest
import torch
from helpers.bad_batches import Poison
from helpers.token_runs import Recorder, config
from mmengine.hooks import Hook

from mmcae.engine.hooks import runtime_info_hook
from mmcae.launch.runner import build_runner

INTERVAL = 4
OURS = dict(type='mmcae.RuntimeInfoHook')
THEIRS = dict(type='mmengine.RuntimeInfoHook')


class Watcher(Hook):
    """Records how many losses the message hub has after each iteration."""

    def __init__(self):
        self.known = []

    def after_train_iter(
        self, runner, batch_idx, data_batch=None, outputs=None
    ):
        scalars = runner.message_hub.log_scalars
        lengths = [
            len(scalars[key].data[0]) if key in scalars else 0
            for key in ('train/loss', 'train/grad_norm')
        ]
        assert len(set(lengths)) == 1
        self.known.append(lengths[0])


def run(photos, work_dir, hook, *others, epochs=2, **options):
    """Train on batches of two."""
    cfg = config(
        photos,
        work_dir,
        epochs,
        train_dataloader__batch_size=2,
        optim_wrapper__type='mmcae.OptimWrapper',
        optim_wrapper__optimizer__fused=True,
        log_processor=dict(window_size=2),
        **{'optim_wrapper__clip_grad': dict(max_norm=1.0), **options},
    )
    cfg.default_hooks = dict(
        runtime_info=hook,
        logger=dict(type='LoggerHook', interval=INTERVAL),
        checkpoint=dict(type='CheckpointHook', interval=1),
    )
    cfg.experiment_name = f'{work_dir.name}_{hook["type"]}'
    runner = build_runner(cfg)
    for other in others:
        runner.register_hook(other)
    runner.train()
    return runner


def logged(work_dir):
    """Return the records of the log, without times."""
    (file,) = work_dir.glob('*/vis_data/scalars.json')
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    timed = {'time', 'data_time', 'memory'}
    return [{k: v for k, v in row.items() if k not in timed} for row in rows]


def test_after_train_iter__gives_the_same_log_as_mmengine(photos, tmp_path):
    for hook, name in ((OURS, 'ours'), (THEIRS, 'theirs')):
        run(photos, tmp_path / name, hook)
    ours, theirs = logged(tmp_path / 'ours'), logged(tmp_path / 'theirs')
    assert len(ours) == len(theirs) > 1
    for one, two in zip(ours, theirs, strict=True):
        assert one == pytest.approx(two, rel=1e-6)
        assert {'loss', 'acc', 'grad_norm', 'lr'} <= set(one)


def test_after_train_iter__reads_once_an_interval(photos, tmp_path):
    watcher, recorder = Watcher(), Recorder()
    runner = run(photos, tmp_path, OURS, watcher, recorder)
    length = len(runner.train_dataloader)
    assert length > INTERVAL
    expected, known = [], 0
    for iteration in range(1, 2 * length + 1):
        inner = (iteration - 1) % length + 1
        if inner % INTERVAL == 0 or inner == length:
            known = iteration
        expected.append(known)
    assert watcher.known == expected
    scalar = runner.message_hub.get_scalar('train/loss')
    assert scalar.data[0].tolist() == pytest.approx(recorder.losses)


def test_before_save_checkpoint__saves_deferred_scalars(photos, tmp_path):
    runner = run(photos, tmp_path, OURS)
    hook = next(
        h
        for h in runner.hooks
        if isinstance(h, runtime_info_hook.RuntimeInfoHook)
    )
    hook._scalars.add('train/loss', torch.tensor(7.0))
    runner.save_checkpoint(str(tmp_path), 'late.pth')
    saved = torch.load(tmp_path / 'late.pth', weights_only=False)
    scalars = saved['message_hub']['log_scalars']
    assert scalars['train/loss'].data[0][-1] == 7.0


def test_after_train_iter__leaves_numbers_that_are_not_finite_out(
    photos, tmp_path
):
    at = 1
    runner = run(photos, tmp_path, OURS, Poison([at]))
    scalar = runner.message_hub.get_scalar('train/loss').data[0]
    assert len(scalar) == 2 * len(runner.train_dataloader) - 1
    assert all(map(math.isfinite, scalar))
    assert all(math.isfinite(row['loss']) for row in logged(tmp_path))
