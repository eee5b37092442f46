# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Keep what libraries print off the console for a while."""

import contextlib
import io
import logging
import sys
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Drop what is printed, logged below an error, or warned of inside."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    sink = io.StringIO()
    try:
        with (
            contextlib.redirect_stdout(sink),
            contextlib.redirect_stderr(sink),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter('ignore')
            yield
    finally:
        logging.disable(before)
        _give_back(sink)


def _give_back(sink: io.StringIO) -> None:
    """Give loggers that were made inside the console for their stream."""
    for logger in logging.root.manager.loggerDict.values():
        for handler in getattr(logger, 'handlers', ()):
            if getattr(handler, 'stream', None) is sink:
                handler.setStream(sys.stdout)
