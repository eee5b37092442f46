# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""What a training or a test prints, and what only its log file gets.

mmengine prints the environment, the whole config and the order of the hooks:
more than 300 lines before the first step. They are worth keeping, but not
worth reading each time, so only the log file gets them here.
"""

import logging
import os
from typing import Any

from mmengine.logging import MMLogger

from mmcae.false_alarms import LOGGED_ALARMS
from mmcae.launch.tolerant_logs import Runner

#: ``MMCAE_CONSOLE=full`` prints everything that the log file gets.
VARIABLE = 'MMCAE_CONSOLE'

#: Starts of messages that only the log file gets.
_FILE_ONLY = (
    'System environment:',
    'Config:',
    'Hooks will be executed in the following order:',
    'Exp name: ',
    'Checkpoints will be saved to ',
    'Distributed training is not used, all SyncBatchNorm',
    'Optimizer group: ',
    *LOGGED_ALARMS,
)


def is_full() -> bool:
    """Whether the console gets everything."""
    return os.environ.get(VARIABLE) == 'full'


class ConsoleFilter(logging.Filter):
    """Drops messages of a start that are long, or that concern nobody."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the console shows a message."""
        if record.levelno >= logging.ERROR:
            return True
        text = record.getMessage().lstrip('\n-')
        return not text.startswith(_FILE_ONLY)


class ConsoleRunner(Runner):
    """A Runner with fewer lines on the console."""

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        """Build mmengine's logger; its console handler gets the filter."""
        logger = super().build_logger(*args, **kwargs)
        for handler in console_handlers(logger):
            handler.addFilter(ConsoleFilter())
        return logger


def console_handlers(logger: logging.Logger) -> list[logging.StreamHandler]:
    """The handlers of a logger that write to the console."""
    return [
        handler
        for handler in logger.handlers
        if isinstance(handler, logging.StreamHandler)
        and not isinstance(handler, logging.FileHandler)
    ]
