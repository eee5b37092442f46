# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Decide which rank of a training stands still.

When one rank stops, all others soon wait for it in a collective operation,
so the time since the last progress does not tell who is at fault. The
position in the training does: the rank that is behind holds up the others.
This file only compares; `mmcae.engine.watchdog` collects the reports.
"""

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

from mmcae.engine.processes import Process

#: Exit status of a run that ended because a rank stood still. It is
#: ``EX_TEMPFAIL`` of sysexits.h: starting again may help.
STALLED = 75
#: Exit status of a rank that ended because another one was lost.
LOST = 1


class Activity(Enum):
    """What the main thread of a rank does; completed by a number."""

    START = 'starting, before iteration {}'
    DATA = 'waiting for the batch of iteration {}'
    STEP = 'computing iteration {}'
    SAVE = 'saving a checkpoint after iteration {}'
    VAL_DATA = 'waiting for batch {} of the validation'
    VAL = 'computing batch {} of the validation'
    METRICS = 'computing the metrics of the validation'


class State(Enum):
    """Whether a rank trains."""

    RUNNING = 'running'
    FINISHED = 'finished'
    FAILED = 'failed'


class Position(NamedTuple):
    """Where a rank is in the training. A smaller one is further behind.

    Attributes:
        iteration: How many iterations are finished.
        stage: 0 after an iteration, 1 in a validation, 2 in its metrics, 3
            after it, 4 in the next iteration.
        batch: In a validation, how many hooks have run; 0 elsewhere.
    """

    iteration: int
    stage: int = 0
    batch: int = 0


class Report(NamedTuple):
    """What is known of a rank.

    Attributes:
        rank: Its number.
        process: Its process.
        position: Where its main thread is.
        activity: What its main thread does, in words.
        idle: Seconds since the main thread came to this position.
        limit: Seconds that this may take.
        where: The line of code of the main thread, or an empty text.
        state: The name of a `State`.
        error: What it failed with, or an empty text.
        silent: Seconds since the process was last heard of.
    """

    rank: int
    process: Process
    position: Position
    activity: str
    idle: float
    limit: float
    where: str = ''
    state: str = State.RUNNING.value
    error: str = ''
    silent: float = 0.0

    @property
    def name(self) -> str:
        """The rank with its process, for messages."""
        return f'Rank {self.rank} ({self.process.name})'


class Verdict(NamedTuple):
    """Why all ranks end.

    Attributes:
        text: One paragraph for the log.
        status: The exit status.
        ranks: Those that stand still or are lost.
        by: The rank that says so.
    """

    text: str
    status: int
    ranks: list[int]
    by: int


def find_stalled(
    reports: Sequence[Report], limit: float, silence: float
) -> list[Report]:
    """Return the ranks for which all others wait longer than the limit.

    These are the ranks that are furthest behind. Of several at the same
    position, those whose process does not answer are at fault. If all answer,
    all are returned: somebody has to look at their stacks.

    Args:
        reports: One of each rank that trains.
        limit: For how many seconds a process may not answer, whatever it
            does.
        silence: After how many seconds a process counts as not answering.

    Returns:
        Reports, or an empty list if nobody exceeds the limit.
    """
    if not reports:
        return []
    behind = min(one.position for one in reports)
    last = [one for one in reports if one.position == behind]
    if any(one.idle <= one.limit and one.silent <= limit for one in last):
        return []
    return [one for one in last if one.silent > silence] or last


def describe_stall(
    stalled: Sequence[Report], reports: Sequence[Report], silence: float
) -> str:
    """Say who stands still, where, for how long, and who waits for it."""
    parts = []
    for one in stalled:
        if one.silent > silence:
            parts.append(
                f'{one.name} has not answered for {one.silent:.0f} s: its '
                'process is stopped, or its machine or the network is down. '
                f'Its last report: {one.activity}.'
            )
        else:
            place = f', in {one.where}' if one.where else ''
            parts.append(
                f'{one.name} stands still for {one.idle:.0f} s (limit '
                f'{one.limit:g} s): {one.activity}{place}.'
            )
    named = {one.rank for one in stalled}
    waiting = [one for one in reports if one.rank not in named]
    if waiting:
        # A last report can be older than the stop; these are not.
        first = min(waiting, key=lambda one: one.position)
        parts.append(
            f'{_ranks([one.rank for one in waiting])} for it, '
            f'{first.activity}.'
        )
    parts.append(
        f'All processes end with status {STALLED}; continue with --resume.'
    )
    return ' '.join(parts)


def describe_loss(lost: Sequence[Report]) -> str:
    """Say which ranks are gone, and what was last known of them."""
    parts = []
    for one in lost:
        if one.error:
            text = one.error.rstrip('.')
            parts.append(f'{one.name} failed while {one.activity}: {text}.')
        elif one.state == State.FAILED.value:
            parts.append(f'{one.name} left the training while {one.activity}.')
        else:
            parts.append(
                f'{one.name} is gone. Its last report, {one.silent:.1f} s '
                f'ago: {one.activity}.'
            )
    parts.append(
        'The other processes cannot go on without it and end; continue with '
        '--resume.'
    )
    return ' '.join(parts)


def _ranks(numbers: Sequence[int]) -> str:
    if len(numbers) == 1:
        return f'Rank {numbers[0]} waits'
    if len(numbers) > 8:
        return f'The other {len(numbers)} ranks wait'
    return f'Ranks {", ".join(map(str, numbers))} wait'
