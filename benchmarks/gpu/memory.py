# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Memory of a step: the estimate of ``step.py``, and the truth."""

import gc
from typing import Any

import torch
from speed.batches import make_batch
from speed.cards import CONTEXT_BYTES, largest_batch
from speed.live import peak_live_bytes
from step import measure_memory

from mmcae.models.layers import use_kernels

from .models import Trained, out_of_memory, size_of
from .report import Report
from .settings import Settings

WITHIN = 0.1


def run(settings: Settings, report: Report) -> None:
    precision = settings.half[0]
    size = size_of(settings, precision)
    ours = Trained(size, precision, settings.torch_device)
    ours.step(make_batch(size, 2, settings.torch_device))
    ours.model.zero_grad(set_to_none=True)
    with use_kernels(linear='torch', attention='fused'):
        row = measure_memory({'mmcae': ours}, size)['mmcae']
        report.detail('estimate', row)
        report.note('estimate: fixed, MB', row['fixed'] / 1e6)
        report.note('estimate: an image, MB', row['live'] / 1e6)
        if settings.cuda:
            _peak_on_gpu(settings, report, ours, size, row)
            _largest_on_gpu(settings, report, ours, size, row)
        else:
            _growth_on_cpu(settings, report, ours, size)


def _growth_on_cpu(
    settings: Settings, report: Report, ours: Trained, size: Any
) -> None:
    """The growth by an image, measured from other batches."""
    peaks = []
    for batch_size in (8, 16, 32):
        batch = make_batch(size, batch_size, settings.torch_device)

        def loss(batch: Any = batch) -> torch.Tensor:
            return ours.loss(batch)

        peaks.append(peak_live_bytes(loss, ours.model.parameters()))
    first, second = (peaks[1] - peaks[0]) / 8, (peaks[2] - peaks[1]) / 16
    error = abs(second / first - 1)
    report.require('an image, batch 8 to 16 and 16 to 32', error, most=WITHIN)


def _peak_on_gpu(
    settings: Settings,
    report: Report,
    ours: Trained,
    size: Any,
    row: dict[str, float],
) -> None:
    peaks = {}
    for batch_size in (64, 128):
        batch = make_batch(size, batch_size, settings.torch_device)
        torch.cuda.reset_peak_memory_stats()
        for _ in range(2):
            ours.step(batch)
        peaks[batch_size] = torch.cuda.max_memory_allocated()
        expected = row['fixed'] + batch_size * row['live']
        what = f'peak at batch {batch_size}: measured / estimate'
        report.note(what, peaks[batch_size] / expected)
    growth = (peaks[128] - peaks[64]) / 64
    report.note('an image, MB, measured', growth / 1e6)


def _largest_on_gpu(
    settings: Settings,
    report: Report,
    ours: Trained,
    size: Any,
    row: dict[str, float],
) -> None:
    """Search the largest multiple of 8 that fits, near the estimate."""
    ours.model.zero_grad(set_to_none=True)
    gc.collect()
    torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info()
    mine = torch.cuda.memory_reserved()
    others = total - free - mine - CONTEXT_BYTES
    if others > 1e9:
        report.note('GB that others hold on this card', others / 1e9)
    estimate = largest_batch(
        free + mine + CONTEXT_BYTES, row['fixed'], row['live']
    )
    low, high = 8, max(32, int(1.5 * estimate) // 8 * 8)
    guess = estimate
    while high - low > max(8, estimate // 50):
        middle = min(max(guess, low + 8), high - 8) // 8 * 8
        if _fits(settings, ours, size, middle):
            low = middle
        else:
            high = middle
        guess = (low + high) // 2
        report.detail('largest batch, so far', [low, high])
    report.note('largest batch, estimate', estimate)
    report.note('largest batch, measured', low)
    what = 'largest batch: estimate / measured - 1'
    report.require(what, abs(estimate / low - 1), most=WITHIN)


def _fits(settings: Settings, ours: Trained, size: Any, number: int) -> bool:
    try:
        batch = make_batch(size, number, settings.torch_device)
        for _ in range(2):
            ours.step(batch)
        torch.cuda.synchronize()
        fits = True
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        fits = False
    batch = None  # the images must go, too
    ours.model.zero_grad(set_to_none=True)
    gc.collect()
    torch.cuda.empty_cache()
    return fits
