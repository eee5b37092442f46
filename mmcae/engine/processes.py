# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Name a process so that others can tell whether it still runs."""

import os
import socket
from functools import cache
from pathlib import Path
from typing import NamedTuple


class Process(NamedTuple):
    """A process.

    A process id alone is not enough: other machines and containers use the
    same ones, and the system gives an id away again.

    Attributes:
        pid: Its id.
        host: The name of its machine.
        machine: Identifies a boot of the machine and, in it, the container.
            Empty if that is not known (systems other than Linux).
        started: When it started, in ticks since the boot.
    """

    pid: int
    host: str
    machine: str
    started: str

    @property
    def name(self) -> str:
        """For messages."""
        return f'process {self.pid} on {self.host}'

    def is_here(self) -> bool:
        """Whether this machine, or container, runs it or has run it."""
        return bool(self.machine) and self.machine == _machine()

    def is_gone(self) -> bool:
        """Whether it has certainly ended. False if it cannot be known."""
        return self.is_here() and _started(self.pid) != self.started


def this_process() -> Process:
    """Return the calling process."""
    pid = os.getpid()
    return Process(pid, socket.gethostname(), _machine(), _started(pid))


@cache
def _machine() -> str:
    try:
        boot = Path('/proc/sys/kernel/random/boot_id').read_text().strip()
        return f'{boot} {os.readlink("/proc/self/ns/pid")}'
    except OSError:
        return ''


def _started(pid: int) -> str:
    """Return when a process started; empty if it has ended."""
    try:
        text = Path(f'/proc/{pid}/stat').read_text()
    except OSError:
        return ''
    # The name of the program, in parentheses, can hold anything.
    fields = text[text.rindex(')') + 2 :].split()
    return '' if fields[0] in 'ZX' else fields[19]
