# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Run many small jobs in forked processes that may crash or hang."""

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

SECONDS = 5.0  # of the processor, for one job
_WALL = 60.0  # on a machine that others use too
_KEPT = 16 << 20
_ROOM = 3 << 30  # of addresses, beyond those in use at the start


@dataclass
class Outcome:
    """What became of a job.

    Attributes:
        result: What it returned; None if it did not.
        fault: Why it did not: a crash, a hang, or an exception.
    """

    result: Any = None
    fault: str = ''


def run_isolated(
    jobs: Sequence[Any],
    work: Callable[[Any], Any],
    batch: int = 100,
    seconds: float = SECONDS,
) -> list[Outcome]:
    """Do jobs in forked processes, and survive them.

    Args:
        jobs: What to do, one by one.
        work: Does one; what it returns is pickled.
        batch: Jobs for one process. One that crashes or hangs ends its
            process; the next job gets another.
        seconds: Of the processor, after which a job hangs.

    Returns:
        What became of each.
    """
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
    """The lines that a process writes; ends it when it takes too long."""

    def __init__(self, descriptor: int, process: int, seconds: float) -> None:
        self._descriptor, self._process = descriptor, process
        self._seconds = seconds
        self._buffer = b''
        self.count, self.hang = 0, ''

    def next(self) -> bytes:
        """Wait for a line; nothing if there is none to come."""
        begun, used = time.monotonic(), _processor_time(self._process)
        while b'\n' not in self._buffer:
            if select.select([self._descriptor], [], [], 0.5)[0]:
                more = os.read(self._descriptor, 1 << 16)
                if not more:
                    return b''
                self._buffer += more
                continue
            spent = _processor_time(self._process) - used
            if spent > self._seconds or time.monotonic() - begun > _WALL:
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
    """Do the jobs in the child, and write a line for each."""
    room = memory('VmSize') + _ROOM
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


def memory(key: str) -> int:
    """A number of bytes from the system's account of this process."""
    with open('/proc/self/status') as file:
        for line in file:
            if line.startswith(f'{key}:'):
                return int(line.split()[1]) * 1024
    raise KeyError(key)


class Peak:
    """How far the memory of this process rises after this."""

    _least = 1 << 62

    def __init__(self) -> None:
        # Freed memory that the process keeps would hide a rise. Giving it
        # back takes longer than most jobs, so a little of it may stay.
        Peak._least = min(Peak._least, memory('VmRSS'))
        if memory('VmRSS') > Peak._least + _KEPT:
            ctypes.CDLL(None).malloc_trim(0)
        with open('/proc/self/clear_refs', 'w') as file:
            file.write('5')  # the peak starts anew
        self._before = memory('VmRSS')

    def rise(self) -> int:
        """Bytes between the start and the peak."""
        return memory('VmHWM') - self._before
