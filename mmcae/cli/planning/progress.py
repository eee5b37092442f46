# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""One line of progress on the console, instead of the whole log."""

import logging
import sys
import time
from typing import Any

from mmengine.hooks import Hook
from mmengine.logging import MessageHub
from mmengine.runner import Runner

from mmcae.cli.planning.plan import duration_text

#: Seconds between two lines in a file, and between two changes of the line of
#: a terminal.
LINE_SECONDS, TERMINAL_SECONDS = 10.0, 0.5
#: The scalars that a reader can judge, and how they are written.
SHOWN = {
    'loss': '{:.3f}',
    'psnr': '{:.1f} dB',
    'codes_used': '{:.0f}',
    'acc': '{:.3f}',
    'acc_position': '{:.3f}',
}


class ProgressHook(Hook):
    """Print where a training is: at its first step, then by time.

    Args:
        title: What is trained.
    """

    priority = 'VERY_LOW'

    def __init__(self, title: str) -> None:
        self.title = title
        self._started = self._printed = 0.0
        self._first = 0

    def before_train(self, runner: Runner) -> None:
        """Start the clock."""
        self._started, self._printed = time.perf_counter(), 0.0
        self._first = runner.iter

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict | None = None,
    ) -> None:
        """Print, if it is time."""
        now = time.perf_counter()
        terminal = sys.stdout.isatty()
        pause = TERMINAL_SECONDS if terminal else LINE_SECONDS
        done, total = runner.iter + 1, runner.max_iters
        if now - self._printed < pause and done < total:
            return
        self._printed = now
        left = (now - self._started) / (done - self._first) * (total - done)
        parts = [
            f'{self.title}: step {done:,} of {total:,}',
            f'epoch {runner.epoch + 1} of {runner.max_epochs}',
            f'{duration_text(left)} left' if done < total else 'done',
        ]
        parts += scalars(runner.message_hub)
        line = ', '.join(parts)
        if terminal:
            end = '\n' if done == total else ''
            print(f'\r\x1b[K{line[:200]}', end=end, flush=True)
        else:
            print(line, flush=True)


def scalars(hub: MessageHub) -> list[str]:
    """The means over the last steps of the scalars in `SHOWN`."""
    known = hub.log_scalars
    return [
        f'{name} {form.format(known[f"train/{name}"].mean(50))}'
        for name, form in SHOWN.items()
        if f'train/{name}' in known
    ]


def silence_console(runner: Runner) -> None:
    """Keep the log off the console, except for warnings; the file has it."""
    for handler in runner.logger.handlers:
        if not isinstance(handler, logging.FileHandler):
            handler.setLevel(logging.WARNING)
            handler.addFilter(_is_news)
            if isinstance(handler, logging.StreamHandler):
                handler.setStream(sys.stderr)


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a warning is for a user; mmengine warns of its own names."""
    text = record.getMessage()
    return 'FileClient' not in text and 'HardDiskBackend' not in text
