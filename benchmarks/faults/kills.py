# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Kill runs with SIGKILL, mostly while they save."""

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config

from mmcae.checkpoint.work_dir import checkpoints_in, newest_good
from mmcae.engine import CheckpointHook

from .runs import Row, Settings, make_config, make_images, train


def kill_rows(settings: Settings) -> Iterator[Row]:
    """Kill trainings at random moments, mostly while they save."""
    rng = np.random.default_rng(1)
    photos = make_images(settings.folder / 'kills')
    for keep in (1, 3):
        work_dir = settings.folder / 'kills' / str(keep)
        cfg = make_config(
            photos,
            work_dir,
            by_epoch=False,
            **{
                'train_cfg.max_iters': 10**6,
                'default_hooks.checkpoint.interval': 1,
                'default_hooks.checkpoint.max_keep_ckpts': keep,
            },
        )
        cfg.resume = True
        survived = torn = lost = 0
        saving: list[float] = []
        reached = 0
        for _ in range(settings.kills):
            times = multiprocessing.Array('d', 2)
            _kill_one(cfg, float(rng.uniform(0.05, 0.6)), reached, times)
            saving.append(times[0] / max(times[1], 1e-9))
            path, refused = newest_good(work_dir)
            torn += len(refused)
            step = int(path.stem.removeprefix('iter_')) if path else -1
            lost += step < reached
            survived += path is not None and not refused and step >= reached
            reached = max(reached, step)
        share = 100 * float(np.mean(saving))
        yield Row(
            f'a kill loses no run (keep {keep})',
            settings.kills,
            survived,
            f'{share:.0f} % of the time spent saving; {torn} torn files; '
            f'{reached:,} iterations reached',
        )


def _kill_one(cfg: Config, delay: float, reached: int, times: Any) -> None:
    """Train in a child; kill it some time after its first new checkpoint."""
    context = multiprocessing.get_context('fork')
    child = context.Process(target=_train_slowly, args=(cfg, times))
    child.start()
    work_dir = Path(cfg.work_dir)
    limit = time.monotonic() + 120
    while time.monotonic() < limit and child.is_alive():
        found = checkpoints_in(work_dir)
        if found and int(found[0].stem.removeprefix('iter_')) > reached:
            break
        time.sleep(0.01)
    time.sleep(delay)
    os.kill(child.pid or 0, signal.SIGKILL)
    child.join()


def _train_slowly(cfg: Config, times: Any) -> None:
    """Train with a disk that is slow enough to be hit while saving."""
    sync = os.fsync

    def slow_sync(handle: int) -> None:
        time.sleep(0.06)
        sync(handle)

    os.fsync = slow_sync
    save = CheckpointHook._save_checkpoint_with_step
    start = time.perf_counter()

    def timed_save(self: Any, *args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter()
        result = save(self, *args, **kwargs)
        now = time.perf_counter()
        times[0] += now - began
        times[1] = now - start
        return result

    CheckpointHook._save_checkpoint_with_step = timed_save  # type: ignore
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    train(cfg)
