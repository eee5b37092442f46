# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Timing on machines that do other things as well."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch


class Clock:
    """Times calls by what a machine does for them.

    On a GPU that is the time between two CUDA events. With one thread of a
    CPU it is the processor time, which does not grow while others have the
    core. Several threads wait for each other, which processor time counts as
    work: with them it is the wall clock, which wants a quiet machine.

    Args:
        device: Where the calls compute.
    """

    def __init__(self, device: torch.device) -> None:
        self.cuda = device.type == 'cuda'
        self.threads = torch.get_num_threads()

    def __call__(self, function: Callable[[], Any]) -> tuple[float, float]:
        """Call a function; returns its seconds: what counts, and wall."""
        if self.cuda:
            events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
            torch.cuda.synchronize()
            start = time.perf_counter()
            events[0].record()
            function()
            events[1].record()
            torch.cuda.synchronize()
            wall = time.perf_counter() - start
            return events[0].elapsed_time(events[1]) / 1000, wall
        start, cpu = time.perf_counter(), time.process_time()
        function()
        cpu = time.process_time() - cpu
        wall = time.perf_counter() - start
        return cpu if self.threads == 1 else wall, wall


def alternate(
    functions: Mapping[str, Callable[[], Any]], rounds: int, clock: Clock
) -> dict[str, dict[str, list[float]]]:
    """Time several functions A B A B, so that drifts reach all alike.

    Returns:
        For each name the seconds of its rounds, ``busy`` (what counts, see
        `Clock`) and ``wall``.
    """
    times: dict[str, dict[str, list[float]]] = {
        name: dict(busy=[], wall=[]) for name in functions
    }
    for _ in range(rounds):
        for name, function in functions.items():
            busy, wall = clock(function)
            times[name]['busy'].append(busy)
            times[name]['wall'].append(wall)
    return times


def summarise(seconds: list[float]) -> dict[str, float]:
    """Median, minimum and spread (largest over smallest, minus 1)."""
    low = min(seconds)
    return dict(
        median=statistics.median(seconds),
        min=low,
        spread=max(seconds) / low - 1 if low else 0.0,
    )


def ratio(other: list[float], ours: list[float]) -> dict[str, float]:
    """How many times as long the other takes, round by round.

    Returns:
        ``median`` of the rounds' ratios, and the ratio of the minima.
    """
    rounds = [a / b for a, b in zip(other, ours, strict=True) if b]
    return dict(
        median=statistics.median(rounds) if rounds else 0.0,
        min=min(other) / min(ours) if min(ours) else 0.0,
    )
