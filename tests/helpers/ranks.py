# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Run a training in several forked processes, with gloo."""

import multiprocessing
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import distributed

#: How a Runner wraps its model in these processes.
RUNNER = dict(
    launcher='pytorch',
    cfg=dict(
        model_wrapper_cfg=dict(
            type='mmcae.CPUDistributedDataParallel', device_ids=None
        )
    ),
    log_level='INFO',
)


class Ranks:
    """Several processes that call a function, each with its number.

    Without a launcher, rank 0 holds the store of the process group, as under
    Slurm. Nobody ends the others when one ends.

    Args:
        target: Gets the rank.
        folder: For what the processes print.
        world: How many there are.
    """

    def __init__(
        self, target: Callable[[int], Any], folder: Path, world: int = 2
    ) -> None:
        with socket.socket() as server:
            server.bind(('127.0.0.1', 0))
            port = server.getsockname()[1]
        self.folder = folder
        context: Any = multiprocessing.get_context('fork')
        # Daemons could not have data-loading workers.
        self.processes = [
            context.Process(
                target=_run, args=(target, rank, world, port, folder)
            )
            for rank in range(world)
        ]
        for process in self.processes:
            process.start()

    def __enter__(self) -> 'Ranks':
        return self

    def __exit__(self, *args: object) -> None:
        for process in self.processes:
            process.kill()
            process.join()

    def output(self, rank: int) -> str:
        """Return what a process has printed."""
        path = self.folder / f'rank{rank}.txt'
        return path.read_text() if path.exists() else ''

    def wait_for(self, file: Path, seconds: float = 40) -> None:
        """Wait until a process has written a file."""
        limit = time.monotonic() + seconds
        while not file.exists():
            assert any(one.is_alive() for one in self.processes)
            assert time.monotonic() < limit, self.output(0)
            time.sleep(0.01)

    def wait(self, seconds: float) -> list[int | None]:
        """Return the exit statuses; None of a process that does not end."""
        limit = time.monotonic() + seconds
        for process in self.processes:
            process.join(max(0.0, limit - time.monotonic()))
        return [process.exitcode for process in self.processes]

    def send(self, rank: int, number: int) -> None:
        """Send a signal."""
        os.kill(self.processes[rank].pid, number)


def _run(
    target: Callable[[int], Any],
    rank: int,
    world: int,
    port: int,
    folder: Path,
) -> None:
    file = os.open(folder / f'rank{rank}.txt', os.O_WRONLY | os.O_CREAT)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.stdout = os.fdopen(1, 'w', buffering=1)
    sys.stderr = os.fdopen(2, 'w', buffering=1)
    sys.excepthook = sys.__excepthook__
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(world),
        MASTER_ADDR='127.0.0.1',
        MASTER_PORT=str(port),
    )
    distributed.init_process_group('gloo')
    status = 0
    try:
        target(rank)
    except SystemExit as end:
        status = int(end.code or 0)
    except BaseException as error:
        # As the interpreter does, but multiprocessing does not.
        try:
            sys.excepthook(type(error), error, error.__traceback__)
        except BaseException:
            traceback.print_exc()
        status = 1
    sys.stdout.flush()
    os._exit(status)
