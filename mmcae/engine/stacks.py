# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Show where the threads of a process, and its workers, are."""

import faulthandler
import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path

#: A process writes the stacks of its threads to stderr when it gets this.
STACKS_SIGNAL: int | None = getattr(signal, 'SIGUSR2', None)

_STDERR = 2


def listen_for_stacks() -> bool:
    """Let this process, and workers that it forks, write stacks on a signal.

    Returns:
        Whether it does. It does not if the signal is already used.
    """
    if (
        STACKS_SIGNAL is None
        or signal.getsignal(STACKS_SIGNAL) != signal.SIG_DFL
    ):
        return False
    # Not through Python's own handlers: these wait for the main thread.
    faulthandler.register(STACKS_SIGNAL, file=_STDERR, all_threads=True)
    return True


def stop_listening_for_stacks() -> None:
    """Undo `listen_for_stacks`."""
    faulthandler.unregister(STACKS_SIGNAL)  # type: ignore[arg-type]


def dump_stacks(of_workers: bool) -> None:
    """Write the stacks of all threads to stderr.

    Args:
        of_workers: Whether to ask the child processes for theirs; only after
            `listen_for_stacks`.
    """
    faulthandler.dump_traceback(_STDERR, all_threads=True)
    # Only forked workers have inherited the handler of the signal.
    if not of_workers or multiprocessing.get_start_method() != 'fork':
        return
    for child in multiprocessing.active_children():
        text = f'\nWorker {child.name} (process {child.pid}):\n'
        os.write(_STDERR, text.encode())
        os.kill(child.pid or 0, STACKS_SIGNAL or 0)
        time.sleep(0.1)  # so that it is the next to write


def line_of(thread: int) -> str:
    """Return the line of code that a thread executes."""
    frame = sys._current_frames().get(thread)
    if frame is None:
        return ''
    code = frame.f_code
    file = '/'.join(Path(code.co_filename).parts[-3:])
    return f'{file}:{frame.f_lineno} ({code.co_name})'
