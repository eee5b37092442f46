# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""One line of progress on the console, instead of the whole log."""

import logging
import sys
import time
from typing import Any

from mmengine.logging import MessageHub
from mmengine.runner import Runner

from mmcae.engine.hooks.progress_hook import ProgressHook
from mmcae.false_alarms import LOGGED_ALARMS
from mmcae.utils.durations import duration_text

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


class StageHook(ProgressHook):
    """Print where a training is: at its first step, then by time.

    It stands in for the hook that the launcher adds to other trainings.

    Args:
        title: What is trained.

    Attributes:
        final: The last values of the scalars in `SHOWN`, after the training.
    """

    priority = 'VERY_LOW'

    def __init__(self, title: str) -> None:
        super().__init__()
        self.title = title
        self._started = self._printed = 0.0
        self._first = 0
        self.final: dict[str, float] = {}

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

    def after_train(self, runner: Runner) -> None:
        """Keep the last values for a verdict."""
        self.final = {
            name: float(
                runner.message_hub.log_scalars[f'train/{name}'].mean(50)
            )
            for name in SHOWN
            if f'train/{name}' in runner.message_hub.log_scalars
        }


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
    """Whether a warning is for a user; mmengine warns of its own calls."""
    return not record.getMessage().startswith(LOGGED_ALARMS)
