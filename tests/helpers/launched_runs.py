# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Trainings of a small CAE under torchrun, with a fault in one process."""

import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from helpers import token_runs
from helpers.toy_project import environment
from mmcae.checkpoint.reading import read_checkpoint
from mmcae.config.search_path import resource_root

#: A hook for `custom_imports`. It acts once: a second start goes on.
FAULT = '''
import os
import signal
import time
from pathlib import Path

from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class Fault(Hook):
    """Injects a fault before an iteration, in one process, once."""

    priority = 'HIGH'

    def __init__(self, kind, rank, iteration, mark):
        self.kind, self.rank = kind, rank
        self.iteration, self.mark = iteration, Path(mark)

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter != self.iteration or self.mark.exists():
            return
        if int(os.environ['RANK']) != self.rank:
            return
        self.mark.write_text(str(os.getpid()))
        if self.kind == 'raise':
            raise ValueError('a broken batch')
        if self.kind == 'hang':
            time.sleep(1000)
        os.kill(os.getpid(), getattr(signal, self.kind))
'''


def write_photos(folder: Path, count: int = 20) -> Path:
    """Write images of colored noise in soft blocks."""
    rng = np.random.default_rng(0)
    photos = folder / 'photos'
    photos.mkdir(parents=True)
    for number in range(count):
        coarse = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((48, 48))
        image.save(photos / f'{number:03}.png')
    return photos


def write_config(
    photos: Path,
    folder: Path,
    fault: str | None = None,
    rank: int = 1,
    iteration: int = 7,
    limit: float = 300.0,
) -> Path:
    """Write a config of two epochs that saves each epoch.

    Args:
        photos: Images; two processes read four of them an iteration.
        folder: Where the config goes.
        fault: ``'raise'``, ``'hang'``, or the name of a signal.
        rank: The process that gets it.
        iteration: How many iterations are finished before it.
        limit: That of `mmcae.StallHook`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'fault.py').write_text(FAULT)
    cfg = token_runs.config(photos, folder / 'run', epochs=2)
    cfg.train_dataloader.batch_size = 2
    cfg.train_cfg = dict(type='mmcae.EpochBasedTrainLoop', max_epochs=2)
    cfg.custom_hooks.append(dict(type='mmcae.SignalHook'))
    cfg.custom_hooks.append(dict(type='mmcae.StallHook', limit=limit))
    if fault:
        cfg.custom_imports = dict(imports=['fault'])
        cfg.custom_hooks.append(
            dict(
                type='mmengine.Fault',
                kind=fault,
                rank=rank,
                iteration=iteration,
                mark=str(folder / 'mark'),
            )
        )
    cfg.default_hooks = dict(
        logger=dict(type='LoggerHook', interval=1),
        checkpoint=dict(type='mmcae.CheckpointHook', interval=1),
    )
    path = folder / 'two.py'
    cfg.dump(str(path))
    return path


def start(config: Path, **variables: str) -> subprocess.Popen:
    """Start ``tools/dist_train.sh`` with two processes.

    Args:
        config: From `write_config`; the output goes to ``log.txt`` beside it.
        **variables: For the environment.
    """
    tool = resource_root() / 'tools/dist_train.sh'
    with open(config.parent / 'log.txt', 'w') as log:
        return subprocess.Popen(
            [str(tool), str(config), '2'],
            cwd=config.parent,
            env=environment(config.parent, **variables),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def log_of(config: Path) -> str:
    """What the processes of a run have printed."""
    return (config.parent / 'log.txt').read_text()


def messages(config: Path) -> list[str]:
    """The messages about processes, without the head of the log's lines."""
    found = re.findall(r'(Rank \d+ \(process .*)', log_of(config))
    return [str(line) for line in found]


def final_weights(config: Path) -> dict[str, torch.Tensor]:
    """The weights at the end of a run."""
    weights: Any = read_checkpoint(config.parent / 'run/epoch_2.pth')
    return weights['state_dict']
