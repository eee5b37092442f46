# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""What a training can use on this machine."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

_CGROUP = Path('/sys/fs/cgroup')


@dataclass(frozen=True)
class GPU:
    """One GPU.

    Attributes:
        name: As its driver gives it.
        memory: Bytes in all.
        free: Bytes that no process uses.
        bfloat16: Whether it computes in bfloat16.
    """

    name: str
    memory: int
    free: int
    bfloat16: bool = True


@dataclass(frozen=True)
class Machine:
    """What a process may use.

    Attributes:
        cores: Cores, after the limits of affinity and container.
        memory: Available bytes, after the limit of the container.
        gpus: The GPUs that CUDA shows.
        disk: Free bytes where the run writes.
        shared_memory: Free bytes for data-loading workers; None if there is
            no such limit.
    """

    cores: int
    memory: int
    gpus: tuple[GPU, ...] = ()
    disk: int = 0
    shared_memory: int | None = None


def look_at_machine(out: Path) -> Machine:
    """Look at this machine.

    Args:
        out: Where the run is going to write; it need not exist.
    """
    shared = Path('/dev/shm')
    return Machine(
        usable_cores(),
        usable_memory(),
        tuple(find_gpus()),
        free_disk(out),
        shutil.disk_usage(shared).free if shared.is_dir() else None,
    )


def usable_cores() -> int:
    """Cores that this process may use; a container may allow fewer."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows
        cores = os.cpu_count() or 1
    quota, _, period = _read(_CGROUP / 'cpu.max').partition(' ')
    if quota.isdigit() and period.strip().isdigit():
        cores = min(cores, max(1, round(int(quota) / int(period))))
    return cores


def usable_memory() -> int:
    """Available bytes of memory; a container may allow fewer."""
    lines = _read(Path('/proc/meminfo')).splitlines()
    known = dict(line.partition(':')[::2] for line in lines)
    words = known.get('MemAvailable', '').split()
    if words:
        available = int(words[0]) * 1024
    else:
        available = _physical_memory()
    limit = _read(_CGROUP / 'memory.max').strip()
    used = _read(_CGROUP / 'memory.current').strip()
    if limit.isdigit() and used.isdigit():
        available = min(available, max(0, int(limit) - int(used)))
    return available


def free_disk(path: Path) -> int:
    """Free bytes of the disk that holds a path, or would hold it."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def find_gpus() -> list[GPU]:
    """The GPUs that CUDA shows."""
    import torch

    found: list[GPU] = []
    if not torch.cuda.is_available():
        return found
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        free, total = torch.cuda.mem_get_info(index)
        found.append(GPU(properties.name, total, free, properties.major >= 8))
    return found


def _physical_memory() -> int:
    try:
        return os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    except (AttributeError, ValueError, OSError):  # Windows
        return 4 << 30


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ''
