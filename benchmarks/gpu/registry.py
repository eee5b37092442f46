# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The list of checks, with the time that each may take."""

import importlib
from dataclasses import dataclass

from .report import Report
from .settings import Settings


@dataclass(frozen=True)
class Check:
    """One check: the function ``run(settings, report)`` of a module.

    Attributes:
        module: Name of the module.
        title: What is checked.
        gpu_seconds: Time limit on a GPU.
        cpu_seconds: Time limit on a CPU, generous: its core may be busy.
    """

    module: str
    title: str
    gpu_seconds: int
    cpu_seconds: int = 300

    def limit(self, settings: Settings) -> int:
        """The time limit in seconds."""
        if settings.long and not settings.cuda:
            return 10 * self.cpu_seconds
        return self.gpu_seconds if settings.cuda else self.cpu_seconds

    def run(self, settings: Settings, report: Report) -> None:
        """Run it in this process."""
        module = importlib.import_module(self.module)
        module.run(settings, report)


def _check(module: str, title: str, gpu_seconds: int) -> Check:
    return Check(f'gpu.{module}', title, gpu_seconds)


# Most important first: when the total time is spent, the last ones are left.
CHECKS = dict(
    environment=_check('environment', 'card, kernels of attention', 40),
    parity=_check('parity', 'recordings; half precision; tokens', 60),
    waiting=_check('waiting', 'no host waits, kernel launches', 60),
    compiling=_check('compiling', 'graph breaks, no recompilation', 75),
    step_time=_check('step_time', 'step time, images/s, MFU', 240),
    amp=_check('amp', 'loss scaling skips infinities', 40),
    trajectory=_check('trajectory', 'CPU and device; determinism', 45),
    memory=_check('memory', 'estimate and largest batch', 100),
    resume=_check('resume', 'a resumed run is bitwise the same', 75),
    nccl_and_inference=_check(
        'nccl_and_inference', 'one rank; inference beside timm', 45
    ),
    data=_check('data', 'share of time that the device waits for data', 75),
    endurance=_check('endurance', 'memory and throughput over 500 steps', 75),
    digits=_check('digits', "bf16 reaches the CPU's probe", 120),
)
