# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""A Runner that goes on when the disk of its logs is full.

Checkpoints are the business of `mmcae.CheckpointHook`. This file is about the
lines of the log, the scalars, and the copy of the config. To lose some of
them must not end a training.
"""

import logging
import os
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import master_only
from mmengine.logging import MMLogger
from mmengine.runner import Runner as MMEngineRunner
from mmengine.visualization import (
    LocalVisBackend,
    TensorboardVisBackend,
    Visualizer,
)
from mmengine.visualization.vis_backend import BaseVisBackend

from mmcae.checkpoint.durable import FULL_DISK_ERRORS, write_durably
from mmcae.registry import RUNNERS

#: A disk that is almost full takes some writes and refuses others. Between
#: two warnings there are at least this many seconds.
QUIET_SECONDS = 600.0
#: TensorBoard starts a file for each attempt, so it gets one a minute.
REOPEN_SECONDS = 60.0


class LogWrites:
    """Counts the writes that fail, and warns once while they do.

    Args:
        folder: Where the logs are; its free bytes are named.
        logger: Gets the warning. One of its handlers may be a log that
            cannot be written.
    """

    def __init__(self, folder: str, logger: logging.Logger) -> None:
        self.folder = folder
        self.logger = logger
        self._failing: set[str] = set()
        self._lost = 0
        self._warned = -QUIET_SECONDS

    def failed(self, log: str, size: int, error: OSError) -> None:
        """Note a write that failed; warn if it is the first one.

        Args:
            log: Which log.
            size: Roughly how many bytes it needs.
            error: Why it failed.
        """
        first = not self._failing
        # Before the warning, which may fail in the same way.
        self._failing.add(log)
        self._lost += 1
        now = time.monotonic()
        if not first or now - self._warned < QUIET_SECONDS:
            return
        self._warned = now
        self.logger.warning(
            f'Could not write {log}: {error.strerror or error} (about '
            f'{size:,} bytes are needed, {_free_bytes(self.folder)} bytes '
            f'are free in {self.folder}). The run goes on; what cannot be '
            'written now is missing in the logs.'
        )

    def worked(self, log: str) -> None:
        """Note a write that worked; say so if no log fails any more."""
        if log not in self._failing:
            return
        self._failing.remove(log)
        if not self._failing:
            lost, self._lost = self._lost, 0
            self.logger.info(
                f'The logs are written again; {lost} writes failed.'
            )

    def watch(self, handler: logging.Handler) -> None:
        """Let a handler's failed writes end here, not in a traceback each."""
        log = str(getattr(handler, 'baseFilename', 'the log on the console'))
        flush, handle_error = handler.flush, handler.handleError

        def tolerant_flush() -> None:
            flush()
            self.worked(log)

        def tolerant_handle_error(record: logging.LogRecord) -> None:
            error = sys.exc_info()[1]
            if isinstance(error, OSError):
                self.failed(log, len(record.getMessage()), error)
            else:
                handle_error(record)

        handler.flush = tolerant_flush  # type: ignore[method-assign]
        handler.handleError = (  # type: ignore[method-assign]
            tolerant_handle_error
        )


class TolerantVisBackend(BaseVisBackend):
    """A backend of a visualizer whose failed writes do not end the run.

    Args:
        backend: The backend that writes.
        name: Its name in the visualizer.
        writes: Notes what fails.
    """

    def __init__(
        self, backend: BaseVisBackend, name: str, writes: LogWrites
    ) -> None:
        super().__init__(backend._save_dir)
        self._backend = backend
        self._name = name
        self._writes = writes
        self._retry_at = -REOPEN_SECONDS
        # Their names are those of the methods of `BaseVisBackend`.
        for method in ('add_graph', 'add_image', 'add_scalar', 'add_scalars'):
            write = partial(self._write, getattr(backend, method))
            setattr(self, method, write)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__['_backend'], name)

    @property
    def experiment(self) -> Any:
        """The backend's own object, such as TensorBoard's writer."""
        return self._backend.experiment

    def _init_env(self) -> None:
        self._backend._init_env()

    def add_config(self, config: Config, **kwargs: Any) -> None:
        """Record the config. This is the first write of a run.

        Raises:
            OSError: If the folder can never be written, as opposed to one
                on a disk that is full now.
        """
        try:
            self._backend.add_config(config, **kwargs)
        except OSError as error:
            if error.errno not in FULL_DISK_ERRORS:
                raise
            self._note(len(config.pretty_text), error)

    def close(self) -> None:
        """Close the backend."""
        self._write(self._backend.close)

    def _write(
        self, write: Callable[..., None], *args: Any, **kwargs: Any
    ) -> None:
        if time.monotonic() < self._retry_at:
            return
        sizes = self._sizes()
        try:
            write(*args, **kwargs)
        except OSError as error:
            self._remove_torn_lines(sizes)
            self._note(sum(len(str(arg)) for arg in args[:2]), error)
        else:
            self._writes.worked(self._name)

    def _sizes(self) -> dict[Path, int]:
        """Of the files with a JSON value in each line."""
        if not isinstance(self._backend, LocalVisBackend):
            return {}
        files = Path(self._save_dir).glob('*.json')
        return {file: file.stat().st_size for file in files}

    def _remove_torn_lines(self, sizes: dict[Path, int]) -> None:
        """Remove the start of a line whose end found no room."""
        for file in self._sizes():
            with suppress(OSError):
                os.truncate(file, sizes.get(file, 0))

    def _note(self, size: int, error: OSError) -> None:
        self._writes.failed(self._name, size, error)
        if isinstance(self._backend, TensorboardVisBackend):
            # TensorBoard's thread has ended with the error. A later write
            # starts a new one, with a new file in the same folder.
            self._backend._env_initialized = False
            self._retry_at = time.monotonic() + REOPEN_SECONDS


@RUNNERS.register_module()
class Runner(MMEngineRunner):
    """mmengine's Runner, whose logs may fail while their disk is full.

    The run goes on with one warning that names the needed and the free
    bytes, and writes its logs again when there is room. A config that a
    former start has left is replaced completely or not at all.
    """

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        """Build the logger; its handlers may fail."""
        logger = super().build_logger(*args, **kwargs)
        self._log_writes = LogWrites(self.log_dir, logger)
        for handler in logger.handlers:
            self._log_writes.watch(handler)
        return logger

    def build_visualizer(self, *args: Any, **kwargs: Any) -> Visualizer:
        """Build the visualizer; its backends may fail."""
        visualizer = super().build_visualizer(*args, **kwargs)
        backends = visualizer._vis_backends
        for name, backend in backends.items():
            # One that was given as an object may have been in another run.
            if isinstance(backend, TolerantVisBackend):
                backend = backend._backend
            backends[name] = TolerantVisBackend(
                backend, name, self._log_writes
            )
        return visualizer

    @master_only
    def dump_config(self) -> None:
        """Write the config into the work dir."""
        name = Path(self.cfg.filename or f'{self.timestamp}.py').name
        text = self.cfg.dump()
        try:
            write_durably(text.encode(), Path(self.work_dir) / name)
        except OSError as error:
            if error.errno not in FULL_DISK_ERRORS:
                raise
            self._log_writes.failed(name, len(text), error)


def _free_bytes(folder: str) -> str:
    try:
        return f'{shutil.disk_usage(folder).free:,}'
    except OSError:  # the folder is gone
        return 'an unknown number of'
