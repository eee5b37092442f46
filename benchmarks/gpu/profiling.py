# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Kernels, launches and gaps of a step, by PyTorch's profiler."""

from collections.abc import Callable
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile


def profile_steps(
    step: Callable[[], Any], device: torch.device, steps: int = 3
) -> dict[str, Any]:
    """Profile steps that are warm.

    Args:
        step: Takes one step.
        device: Where it computes.
        steps: How many are profiled.

    Returns:
        For a step: ``launches`` (kernels and copies; on a CPU, calls of
        operations), ``busy`` seconds of the device, ``span`` seconds from
        the first to the end of the last, ``gaps`` (the share of the span in
        which the device does nothing), and ``top``, seconds by name.
    """
    cuda = device.type == 'cuda'
    kinds = [ProfilerActivity.CPU]
    kinds += [ProfilerActivity.CUDA] if cuda else []
    with profile(activities=kinds) as profiler:
        for _ in range(steps):
            step()
        if cuda:
            torch.cuda.synchronize(device)
    if cuda:
        pieces = [
            (event.time_range.start, event.time_range.end, event.name)
            for event in profiler.events()
            if event.device_type == DeviceType.CUDA
            and not getattr(event, 'is_user_annotation', False)
        ]
        seconds: dict[str, float] = {}
        for start, end, name in pieces:
            seconds[name] = seconds.get(name, 0.0) + (end - start) / 1e6
        launches = len(pieces)
        busy, span = covered((start, end) for start, end, _ in pieces)
        busy, span = busy / 1e6, span / 1e6
    else:
        rows = profiler.key_averages()
        launches = sum(row.count for row in rows)
        seconds = {row.key: row.self_cpu_time_total / 1e6 for row in rows}
        busy = span = sum(seconds.values())
    top = sorted(seconds.items(), key=lambda item: -item[1])[:12]
    return dict(
        launches=launches / steps,
        busy=busy / steps,
        span=span / steps,
        gaps=1 - busy / span if span else 0.0,
        top={name[:90]: value / steps for name, value in top},
    )


def covered(pieces: Any) -> tuple[float, float]:
    """Length of the union of intervals, and from the first to the last.

    Args:
        pieces: Pairs of start and end; kernels of several streams overlap.
    """
    ordered = sorted(pieces)
    if not ordered:
        return 0.0, 0.0
    total, end = 0.0, ordered[0][0]
    for start, stop in ordered:
        total += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return total, end - ordered[0][0]
