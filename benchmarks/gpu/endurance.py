# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Many steps: memory stays flat, and so does the speed."""

import gc
import statistics
import time

import torch
from speed.batches import make_batch

from .models import Trained, size_of
from .report import Report
from .settings import Settings

WITHIN = 0.02


def run(settings: Settings, report: Report) -> None:
    device, precision = settings.torch_device, settings.half[0]
    size = size_of(settings, precision)
    ours = Trained(size, precision, device)
    steps, parts = settings.pick(500, 20), settings.pick(10, 4)
    batch_size = settings.pick(64, 4)
    batches = [make_batch(size, batch_size, device, i) for i in range(5)]
    for step in range(settings.pick(20, 3)):
        ours.step(batches[step % 5])
    seconds, held = [], []
    for _ in range(parts):
        _synchronize(settings)
        start = time.perf_counter()
        for step in range(steps // parts):
            ours.step(batches[step % 5])
        _synchronize(settings)
        seconds.append(time.perf_counter() - start)
        ours.scalars.flush()
        held.append(_held(settings))
    report.detail('seconds of each part', seconds)
    report.detail('bytes after each part', held)
    # Values that are not finite do not reach the message hub.
    norms = ours.wrapper.message_hub.get_scalar('train/grad_norm').data[0]
    report.require('gradient norms that are finite', len(norms), least=steps)
    growth = max(held[1:]) - held[0]
    name = 'bytes on the GPU' if settings.cuda else 'tensors'
    what = f'growth of {name} over {steps} steps'
    report.require(what, growth, most=0)
    report.note('images/s', steps * batch_size / sum(seconds))
    half = parts // 2
    early, late = map(statistics.median, (seconds[:half], seconds[half:]))
    what = 'second half / first half, time of steps, minus 1'
    # A CPU has other work, too; there this is no requirement.
    ask = report.require if settings.cuda else report.goal
    ask(what, late / early - 1, most=WITHIN)


def _synchronize(settings: Settings) -> None:
    if settings.cuda:
        torch.cuda.synchronize()


def _held(settings: Settings) -> int:
    """What is alive between two steps."""
    gc.collect()
    if settings.cuda:
        return torch.cuda.memory_allocated()
    # By type, not by isinstance, which would wake lazy modules' objects.
    return sum(issubclass(type(o), torch.Tensor) for o in gc.get_objects())
