# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Train long, and look for what grows."""

import multiprocessing
import os
import resource
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.hooks import Hook

from mmcae.checkpoint.work_dir import checkpoints_in
from mmcae.launch.runner import build_runner

from .runs import Row, Settings, make_config, make_images


def soak_rows(settings: Settings) -> Iterator[Row]:
    """Train long, and look at memory, files, threads and checkpoints."""
    photos = make_images(settings.folder / 'soak')
    work_dir = settings.folder / 'soak' / 'run'
    cfg = make_config(
        photos,
        work_dir,
        by_epoch=False,
        **{
            'train_cfg.max_iters': settings.soak,
            'default_hooks.checkpoint.interval': settings.soak // 8,
        },
    )
    queue: Any = multiprocessing.get_context('fork').Queue()
    child = multiprocessing.get_context('fork').Process(
        target=_soak, args=(cfg, queue)
    )
    child.start()
    seen = queue.get()
    child.join()
    late = seen[len(seen) // 8 :]
    growth = (late[-1][0] - late[0][0]) / 2**20
    files, threads = (late[-1][i] - late[0][i] for i in (1, 2))
    sizes = [path.stat().st_size for path in checkpoints_in(work_dir)]
    sizes = sizes[:-1]  # the first may be before the log's window is full
    kept = [
        growth < 10,
        files <= 0,
        threads <= 0,
        max(sizes) - min(sizes) < 1000,
    ]
    yield Row(
        f'{settings.soak:,} iterations leak nothing',
        len(kept),
        sum(kept),
        f'memory {growth:+.1f} MB, files {files:+}, threads {threads:+}, '
        f'checkpoints differ by {max(sizes) - min(sizes)} bytes',
    )


def _soak(cfg: Config, queue: Any) -> None:
    seen: list[tuple[int, int, int]] = []

    class Watch(Hook):
        def after_train_iter(
            self, runner: Any, *args: Any, **kwargs: Any
        ) -> None:
            if runner.iter % 50:
                return
            pages = int(Path('/proc/self/statm').read_text().split()[1])
            seen.append(
                (
                    pages * resource.getpagesize(),
                    len(os.listdir('/proc/self/fd')),
                    threading.active_count(),
                )
            )

    runner = build_runner(cfg)
    runner.register_hook(Watch())
    runner.train()
    queue.put(seen)
