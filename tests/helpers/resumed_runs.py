# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Tiny runs to stop and to go on with, inside of the test's process."""

from pathlib import Path
from typing import Any

import torch
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.logging import MessageHub, MMLogger
from mmengine.model import BaseModel
from mmengine.runner import Runner
from mmengine.visualization import Visualizer


class TinyModel(BaseModel):
    """A layer, and a parameter that never gets a gradient."""

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
    """Eight rows."""

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
    """A runner of `TinyModel` that saves each epoch and the best."""
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
