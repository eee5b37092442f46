# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Run many small jobs in forked processes, which may crash or hang."""

import ctypes
import faulthandler
import os
import pickle
import resource
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

# Limits for one job: processor time, and time on a machine that others use.
SECONDS = 5.0
_WALL_SECONDS = 60.0
# Bytes of freed memory that a process may keep before a measurement.
_KEPT = 16 << 20
# Bytes of address space that a process may allocate for its jobs.
_ADDRESS_SPACE = 3 << 30


@dataclass
class Outcome:
    """The outcome of a job.

    Attributes:
        result: The return value; None if there is none.
        fault: Why there is none: a crash, a hang, or an exception.
    """

    result: Any = None
    fault: str = ''


def run_isolated(
    jobs: Sequence[Any],
    work: Callable[[Any], Any],
    batch: int = 100,
    seconds: float = SECONDS,
) -> list[Outcome]:
    """Do jobs in forked processes, so that a crash does not end the tests.

    Args:
        jobs: The arguments of ``work``.
        work: Does one job. Its return value must be picklable.
        batch: The number of jobs for one process. A job that crashes or
            hangs ends its process, and the next job starts a new one.
        seconds: A job that takes more processor time is a hang.

    Returns:
        The outcome of each job.
    """
    # `Peak` does not see it when freed memory is used again, and tests that
    # ran before leave gigabytes of it.
    _give_memory_back()
    outcomes: list[Outcome] = []
    while len(outcomes) < len(jobs):
        part = jobs[len(outcomes) : len(outcomes) + batch]
        outcomes.extend(_run_batch(part, work, seconds))
    return outcomes


def _run_batch(
    jobs: Sequence[Any], work: Callable, seconds: float
) -> Iterator[Outcome]:
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            _work(jobs, work, writing)
        finally:
            os._exit(0)
    os.close(writing)
    lines = _Lines(reading, child, seconds)
    for _ in jobs:
        line = lines.next()
        if not line:
            break
        yield pickle.loads(bytes.fromhex(line.decode()))
    os.close(reading)
    _, status = os.waitpid(child, 0)
    if lines.count < len(jobs):
        code = os.waitstatus_to_exitcode(status)
        name = signal.Signals(-code).name if code < 0 else f'exit {code}'
        yield Outcome(fault=lines.hang or f'a crash ({name})')


class _Lines:
    """Reads the lines that a process writes; kills it after too long."""

    def __init__(self, descriptor: int, process: int, seconds: float) -> None:
        self._descriptor, self._process = descriptor, process
        self._seconds = seconds
        self._buffer = b''
        self.count, self.hang = 0, ''

    def next(self) -> bytes:
        """Wait for a line; return nothing if the process has ended."""
        begun, used = time.monotonic(), _processor_time(self._process)
        while b'\n' not in self._buffer:
            if select.select([self._descriptor], [], [], 0.5)[0]:
                more = os.read(self._descriptor, 1 << 16)
                if not more:
                    return b''
                self._buffer += more
                continue
            spent = _processor_time(self._process) - used
            if (
                spent > self._seconds
                or time.monotonic() - begun > _WALL_SECONDS
            ):
                os.kill(self._process, signal.SIGKILL)
                self.hang = f'a hang (over {self._seconds:g} s)'
                return b''
        line, _, self._buffer = self._buffer.partition(b'\n')
        self.count += 1
        return line


def _processor_time(process: int) -> float:
    with open(f'/proc/{process}/stat') as file:
        fields = file.read().rpartition(')')[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def _work(jobs: Sequence[Any], work: Callable, writing: int) -> None:
    """Do the jobs in the child process, and write a line for each job."""
    room = memory('VmSize') + _ADDRESS_SPACE
    resource.setrlimit(resource.RLIMIT_AS, (room, room))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    faulthandler.disable()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    for job in jobs:
        try:
            outcome = Outcome(work(job))
        except BaseException as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            place = f'{os.path.basename(last.filename)}:{last.lineno}'
            text = f'{type(error).__name__}: {str(error)[:300]}'
            outcome = Outcome(fault=f'{text} ({place})')
        line = pickle.dumps(outcome).hex().encode() + b'\n'
        while line:
            line = line[os.write(writing, line) :]


def _give_memory_back() -> None:
    """Return freed memory to the system."""
    ctypes.CDLL(None).malloc_trim(0)


def memory(key: str) -> int:
    """Return a number of bytes from ``/proc/self/status``."""
    with open('/proc/self/status') as file:
        for line in file:
            if line.startswith(f'{key}:'):
                return int(line.split()[1]) * 1024
    raise KeyError(key)


class Peak:
    """Measures the peak memory of this process from now on."""

    _least = 1 << 62

    def __init__(self) -> None:
        # If the process kept freed memory, using it again would not raise the
        # peak. Giving it back takes longer than most jobs, so the process may
        # keep a little.
        Peak._least = min(Peak._least, memory('VmRSS'))
        if memory('VmRSS') > Peak._least + _KEPT:
            _give_memory_back()
        with open('/proc/self/clear_refs', 'w') as file:
            file.write('5')  # resets the peak
        self._before = memory('VmRSS')

    def rise(self) -> int:
        """Return the bytes by which the memory has risen at its peak."""
        return memory('VmHWM') - self._before
