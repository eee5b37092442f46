# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Tiny trainings with dropout, to stop and to resume inside of the test."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.logging import MessageHub, MMLogger
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmengine.visualization import Visualizer

from mmcae.engine import CheckpointHook


class DropoutModel(BaseModel):
    """Two layers with dropout: its losses follow the random state."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(3, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 1)
        )

    def forward(self, x, index, mode='tensor'):
        loss = (self.layers(x).squeeze(1) - x.sum(1)).pow(2).mean()
        return dict(loss=loss) if mode == 'loss' else [loss]


class Rows(torch.utils.data.Dataset):
    """Twenty rows; counts how many it has read in this process."""

    def __init__(self) -> None:
        self.read = 0

    def __len__(self) -> int:
        return 20

    def __getitem__(self, index):
        self.read += 1
        x = torch.tensor([index / 20, index % 3, 1.0])
        return dict(x=x, index=torch.tensor(int(index)))


class Record(Hook):
    """Keeps losses and indices; saves and stops after an iteration.

    Args:
        stop: The number of finished iterations after which to stop.
    """

    priority = 'LOWEST'

    def __init__(self, stop: int | None = None) -> None:
        self.stop = stop
        self.losses: list[float] = []
        self.indices: list[list[int]] = []
        self.first_iter: int | None = None
        self.read_before_first = 0

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if self.first_iter is None:
            self.first_iter = runner.iter
            dataset = runner.train_dataloader.dataset
            self.read_before_first = dataset.read

    def after_train_iter(
        self, runner, batch_idx, data_batch=None, outputs=None
    ) -> None:
        self.losses.append(outputs['loss'].item())
        self.indices.append(data_batch['index'].tolist())
        if runner.iter + 1 == self.stop:
            hooks = [h for h in runner.hooks if isinstance(h, CheckpointHook)]
            assert hooks[0].save_now(runner) is not None
            raise Stopped


class Stopped(Exception):
    """The run was stopped on purpose."""


def run(
    work_dir: Path,
    by_epoch: bool = True,
    workers: int = 0,
    stop: int | None = None,
    resume: bool = False,
    accumulate: int = 1,
    length: int | None = None,
    hook: dict | None = None,
    loops: str = 'mmcae',
    hooks: tuple[Hook, ...] = (),
    **more: Any,
) -> tuple[Record, dict[str, torch.Tensor], Runner]:
    """Train for three epochs of five batches, or 15 iterations.

    Args:
        work_dir: Where checkpoints go.
        by_epoch: Which loop.
        workers: Data-loading workers.
        stop: After how many iterations to save and stop.
        resume: Whether to continue from the work dir.
        accumulate: Batches whose gradients are accumulated.
        length: Epochs or iterations, instead of 3 or 15.
        hook: Settings of the CheckpointHook.
        loops: Whose loops: ``'mmcae'`` or ``'mmengine'``.
        hooks: Further hooks.
        **more: For the Runner.

    Returns:
        The record, the final weights, and the runner.
    """
    for manager in (DefaultScope, MessageHub, MMLogger, Visualizer):
        manager._instance_dict.clear()
    length = length or (3 if by_epoch else 15)
    settings = dict(interval=1 if by_epoch else 5, by_epoch=by_epoch)
    settings.update(hook or {})
    sampler = 'SeededSampler' if by_epoch else 'SeededInfiniteSampler'
    loop = (
        dict(type=f'{loops}.EpochBasedTrainLoop', max_epochs=length)
        if by_epoch
        else dict(type=f'{loops}.IterBasedTrainLoop', max_iters=length)
    )
    record = Record(stop)
    torch.manual_seed(0)  # the model is made before the Runner seeds
    runner = Runner(
        model=DropoutModel(),
        work_dir=str(work_dir),
        train_dataloader=dict(
            batch_size=4,
            num_workers=workers,
            persistent_workers=workers > 0,
            collate_fn=dict(type='default_collate'),
            sampler=dict(type=f'mmcae.{sampler}'),
            dataset=Rows(),
        ),
        train_cfg=loop,
        optim_wrapper=dict(
            type='OptimWrapper',
            optimizer=dict(type='AdamW', lr=0.01),
            accumulative_counts=accumulate,
        ),
        default_hooks=dict(
            checkpoint=dict(type='mmcae.CheckpointHook', **settings)
        ),
        custom_hooks=[record, *hooks],
        resume=resume,
        randomness=dict(seed=3),
        default_scope='mmengine',
        **{'log_level': 'ERROR', **more},
    )
    with suppress(Stopped):
        runner.train()
    iterator = runner.train_dataloader._iterator
    if iterator is not None:
        # Left to the garbage collector, each worker costs five seconds.
        iterator._shutdown_workers()
    weights = {k: v.clone() for k, v in runner.model.state_dict().items()}
    return record, weights, runner
