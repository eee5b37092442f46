# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Send signals to runs, and start runs again where one has been."""

import multiprocessing
import os
import signal
from collections.abc import Iterator
from typing import Any

from mmengine.config import Config
from mmengine.hooks import Hook

from mmcae.checkpoint.work_dir import checkpoints_in
from mmcae.config.overrides import ConfigError
from mmcae.launch.runner import build_runner
from mmcae.launch.work_dir import claim_work_dir, resume_newest

from .runs import EPOCH, Row, Settings, make_config, make_images, train


def signal_rows(settings: Settings) -> Iterator[Row]:
    """Send signals inside of an iteration, and resume."""
    photos = make_images(settings.folder / 'signals')
    kept = total = 0
    for by_epoch in (True, False):
        base = settings.folder / 'signals' / str(by_epoch)
        whole, _ = train(make_config(photos, base / 'whole', by_epoch))
        for name in ('SIGTERM', 'SIGUSR1', 'SIGHUP', 'SIGINT'):
            number = getattr(signal, name)
            cfg = make_config(photos, base / name, by_epoch)
            context = multiprocessing.get_context('fork')
            child = context.Process(
                target=_train_and_signal, args=(cfg.copy(), number)
            )
            child.start()
            child.join()
            cfg.resume = True
            after, _ = train(cfg)
            total += 1
            kept += (
                child.exitcode == 128 + number
                and after.losses == whole.losses[EPOCH + 4 :]
            )
    yield Row(
        'a signal loses no iteration, and the resumed run is exact',
        total,
        kept,
        'SIGTERM, SIGUSR1, SIGHUP, SIGINT; both loops; exit status 128 + n',
    )


def _train_and_signal(cfg: Config, number: int) -> None:
    class Send(Hook):
        def before_train_iter(
            self, runner: Any, *args: Any, **kwargs: Any
        ) -> None:
            if runner.iter == EPOCH + 3:
                os.kill(os.getpid(), number)

    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    runner = build_runner(cfg)
    runner.register_hook(Send())
    runner.train()


def restart_rows(settings: Settings) -> Iterator[Row]:
    """Start again where a run has been."""
    photos = make_images(settings.folder / 'restart')
    work_dir = settings.folder / 'restart' / 'run'
    cfg = make_config(photos, work_dir)
    train(cfg.copy())
    before = [path.read_bytes() for path in checkpoints_in(work_dir)]
    kept = 0
    try:
        claim_work_dir(cfg.copy())
    except ConfigError:
        kept += 1
    (work_dir / 'last_checkpoint').unlink()
    resumed = cfg.copy()
    resume_newest(resumed)
    kept += str(resumed.get('load_from')).endswith('epoch_3.pth')
    moved = work_dir.with_name('moved')
    work_dir.rename(moved)
    resumed.work_dir = str(moved)
    resume_newest(resumed)
    kept += resumed.load_from == str(moved / 'epoch_3.pth')
    kept += before == [path.read_bytes() for path in checkpoints_in(moved)]
    yield Row(
        'no start from 0 over checkpoints; a moved work dir is resumed',
        4,
        kept,
        'without --resume, without a pointer, moved; files compared',
    )
