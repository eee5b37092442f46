# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Trainings of a small CAE that faults are injected into."""

from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from helpers import token_runs
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer
from PIL import Image

from mmcae.engine import CheckpointHook
from mmcae.launch.runner import build_runner

#: Of the generated images, of a batch, and of an epoch.
IMAGES = 40
BATCH = 4
EPOCH = IMAGES // BATCH


class Row(NamedTuple):
    """One promise.

    Attributes:
        promise: What is promised.
        injected: How many faults, or comparisons.
        survived: How many of them kept the promise.
        notes: Figures.
    """

    promise: str
    injected: int
    survived: int
    notes: str


class Settings(NamedTuple):
    """What the rows share: a folder, and how many faults to inject."""

    folder: Path
    kills: int
    soak: int
    images: int


def make_images(folder: Path) -> Path:
    """Write JPEGs of colored noise in soft blocks."""
    rng = np.random.default_rng(0)
    photos = folder / 'photos'
    photos.mkdir(parents=True)
    for number in range(IMAGES):
        coarse = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((48, 48), Image.BICUBIC)
        image.save(photos / f'{number:03}.jpg', quality=90)
    return photos


class Record(Hook):
    """Keeps the losses; stops after an iteration if asked to.

    Args:
        stop: The number of finished iterations after which to stop.
    """

    priority = 'LOWEST'

    def __init__(self, stop: int | None = None) -> None:
        self.stop = stop
        self.losses: list[float] = []

    def after_train_iter(
        self, runner: Any, *args: Any, outputs: Any = None, **kw: Any
    ) -> None:
        self.losses.append(float(outputs['loss'].detach()))
        if runner.iter + 1 == self.stop:
            hooks = [h for h in runner.hooks if isinstance(h, CheckpointHook)]
            hooks[0].save_now(runner)
            raise StoppedError


class StoppedError(Exception):
    """A run was stopped on purpose."""


def make_config(
    photos: Path, work_dir: Path, by_epoch: bool = True, **options: Any
) -> Config:
    """Configure a training of three epochs, or of as many iterations."""
    cfg = token_runs.config(photos, work_dir)
    cfg.default_hooks = dict(
        checkpoint=dict(
            type='mmcae.CheckpointHook',
            by_epoch=by_epoch,
            interval=1 if by_epoch else EPOCH,
        )
    )
    cfg.train_cfg = (
        dict(type='mmcae.EpochBasedTrainLoop', max_epochs=3)
        if by_epoch
        else dict(type='mmcae.IterBasedTrainLoop', max_iters=3 * EPOCH)
    )
    if not by_epoch:
        cfg.train_dataloader.sampler.type = 'mmcae.SeededInfiniteSampler'
    cfg.custom_hooks = [dict(type='mmcae.SignalHook')]
    cfg.log_level = 'ERROR'
    cfg.merge_from_dict(options)
    return cfg


def train(
    cfg: Config, stop: int | None = None, hooks: tuple[Hook, ...] = ()
) -> tuple[Record, Any]:
    """Train in this process; return the record and the runner."""
    for manager in (DefaultScope, MessageHub, MMLogger, Visualizer):
        manager._instance_dict.clear()
    record = Record(stop)
    runner = build_runner(cfg)
    for hook in (record, *hooks):
        runner.register_hook(hook)
    with suppress(StoppedError):
        runner.train()
    iterator = runner.train_dataloader._iterator
    if hasattr(iterator, '_shutdown_workers'):
        iterator._shutdown_workers()
    return record, runner
