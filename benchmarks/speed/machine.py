# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Describe the machine of a measurement, without host names or paths."""

import os
import platform
from pathlib import Path

import torch


def describe_machine(device: torch.device) -> dict:
    """Processor, GPU, number of threads, and versions."""
    machine = dict(
        cpu=_cpu_model(),
        cores=os.cpu_count(),
        threads=torch.get_num_threads(),
        system=platform.system(),
        python=platform.python_version(),
        torch=torch.__version__,
    )
    if device.type == 'cuda':
        gpu = torch.cuda.get_device_properties(device)
        machine.update(gpu=gpu.name, gpu_gb=round(gpu.total_memory / 1e9, 1))
    return machine


def machine_line(machine: dict) -> str:
    """Describe a machine in one line."""
    where = f'{machine["cpu"]}, {machine["cores"]} cores'
    if 'gpu' in machine:
        where = f'{machine["gpu"]} ({machine["gpu_gb"]} GB), {where}'
    return f'{where}, {machine["threads"]} threads, torch {machine["torch"]}'


def load_average() -> float | None:
    """Number of processes that want a core; ``None`` if not known."""
    return round(os.getloadavg()[0], 1) if hasattr(os, 'getloadavg') else None


def peak_memory(device: torch.device) -> int:
    """Peak memory of this process in bytes: of the GPU, or resident.

    ``VmHWM`` is preferred, because ``ru_maxrss`` of Linux begins at the peak
    of the parent process.
    """
    if device.type == 'cuda':
        return torch.cuda.max_memory_allocated(device)
    status = Path('/proc/self/status')
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith('VmHWM:'):
                return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if platform.system() == 'Darwin' else 1024)


def _cpu_model() -> str:
    info = Path('/proc/cpuinfo')
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith('model name'):
                return line.partition(':')[2].strip()
    return platform.processor() or platform.machine()
