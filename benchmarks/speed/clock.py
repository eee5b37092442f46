# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Time calls on machines that other programs use at the same time."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch


class Clock:
    """Measures the seconds that a call takes.

    What counts depends on the device. On a GPU it is the time between two
    CUDA events. On a CPU with one thread it is the processor time, which does
    not grow while other programs use the core. With several threads it is
    the wall clock, because processor time would count a thread that waits for
    another one as working; the machine should be idle then.

    Args:
        device: Where the calls compute.
    """

    def __init__(self, device: torch.device) -> None:
        self.cuda = device.type == 'cuda'
        self.threads = torch.get_num_threads()

    def __call__(self, function: Callable[[], Any]) -> tuple[float, float]:
        """Call a function; returns the seconds that count, and wall time."""
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
    """Time several functions in turn: A B A B.

    A machine that gets slower or faster then affects all of them alike.

    Args:
        functions: The functions by name.
        rounds: Number of calls of each.
        clock: Measures the time.

    Returns:
        By name: lists with the seconds of each round, ``busy`` (those that
        count, see `Clock`) and ``wall``.
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


def summarize(seconds: list[float]) -> dict[str, float]:
    """Median, minimum, and spread: the largest by the smallest, minus 1."""
    low = min(seconds)
    return dict(
        median=statistics.median(seconds),
        min=low,
        spread=max(seconds) / low - 1 if low else 0.0,
    )


summarize = summarize  # the former name


def ratio(other: list[float], ours: list[float]) -> dict[str, float]:
    """How many times as long as ours another implementation takes.

    Args:
        other: Its seconds in each round.
        ours: Our seconds in each round.

    Returns:
        ``median``: the median of the rounds' ratios. ``min``: the ratio of
        the fastest rounds.
    """
    rounds = [a / b for a, b in zip(other, ours, strict=True) if b]
    return dict(
        median=statistics.median(rounds) if rounds else 0.0,
        min=min(other) / min(ours) if min(ours) else 0.0,
    )
