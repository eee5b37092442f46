# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Tiny runs, to save and to resume inside the test process."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.logging import MessageHub, MMLogger
from mmengine.model import BaseModel
from mmengine.runner import Runner
from mmengine.visualization import Visualizer

from mmcae.checkpoint.plain_values import ResumeError


class TinyModel(BaseModel):
    """A linear layer, and a parameter that never gets a gradient."""

    def __init__(self, width: int = 4, extra: bool = False) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(3, width)
        self.unused = torch.nn.Parameter(torch.zeros(2))
        if extra:
            self.extra = torch.nn.Parameter(torch.zeros(2))

    def forward(self, x, y, mode='tensor'):
        out = self.linear(x).sum(1)
        if mode == 'loss':
            return dict(loss=(out - y).pow(2).mean())
        return list((out - y).abs())


class TinyData(torch.utils.data.Dataset):
    """Eight samples."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index):
        x = torch.tensor([index / 8, index % 3, 1.0])
        return dict(x=x, y=x.sum())


class FallingMetric(BaseMetric):
    """Better at every evaluation."""

    value = 1e6

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        FallingMetric.value -= 1
        return dict(error=FallingMetric.value, count=len(results))


def make_runner(
    work_dir: Path,
    epochs: int = 2,
    optimizer: dict | None = None,
    schedulers: Any = None,
    checkpoint: dict | None = None,
    model: dict | None = None,
    kind: type = Runner,
    **kwargs: Any,
) -> Runner:
    """Build a runner of `TinyModel`; it saves each epoch and the best one."""
    for manager in (MessageHub, MMLogger, Visualizer):
        manager._instance_dict.clear()
    loader = dict(
        batch_size=4,
        num_workers=0,
        dataset=TinyData(),
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=dict(type='default_collate'),
    )
    if schedulers is None:
        schedulers = [dict(type='LinearLR', by_epoch=False, end=20)]
    hook = dict(
        type='CheckpointHook', interval=1, save_best='error', rule='less'
    )
    hook.update(checkpoint or {})
    return kind(
        model=TinyModel(**(model or {})),
        work_dir=str(work_dir),
        train_dataloader=loader,
        val_dataloader=loader,
        val_evaluator=Evaluator(FallingMetric()),
        optim_wrapper=dict(
            optimizer=optimizer or dict(type='AdamW', lr=0.01, fused=True)
        ),
        param_scheduler=schedulers,
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        val_cfg=dict(),
        default_hooks=dict(checkpoint=hook),
        default_scope='mmengine',
        experiment_name='tiny',
        **kwargs,
    )


def resuming_runner(
    checkpoint: dict, folder: Path, **kwargs: Any
) -> tuple[Runner, dict[str, torch.Tensor]]:
    """Save a checkpoint, and build a runner that will resume from it.

    Returns:
        The runner, and a copy of its initial weights.
    """
    folder.mkdir(exist_ok=True)
    path = folder / 'changed.pth'
    torch.save(checkpoint, path)
    runner = make_runner(folder / 'work', **kwargs)
    runner._resume, runner._load_from = True, str(path)
    return runner, copy.deepcopy(runner.model.state_dict())


def assert_refused(
    saved: dict,
    change: Callable[[dict], Any],
    words: str,
    folder: Path,
    loads_first: bool = False,
) -> None:
    """Require that a changed checkpoint is refused before anything changes.

    Args:
        saved: A good checkpoint; not changed.
        change: Changes a copy of it in place.
        words: A regular expression for the message.
        folder: An empty folder.
        loads_first: Whether the fault is only known after the weights of the
            model were loaded.
    """
    checkpoint = copy.deepcopy(saved)
    change(checkpoint)
    runner, before = resuming_runner(checkpoint, folder)
    hooks = list(runner.hooks)
    with pytest.raises(ResumeError, match=words) as info:
        runner.train()
    message = str(info.value)
    assert message.startswith(f'Cannot resume from {folder}/changed.pth: ')
    assert message.endswith('use load_from=FILE without resume.')
    assert '\n' not in message
    assert runner.hooks == hooks
    if not loads_first:
        for key, value in runner.model.state_dict().items():
            assert torch.equal(value, before[key])
