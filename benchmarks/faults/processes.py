# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Kill, stop and restart one of two processes under torchrun."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import torch
from helpers.launched_runs import (
    final_weights,
    log_of,
    messages,
    start,
    write_config,
)

from .runs import Row, Settings, make_images

#: The limit of `mmcae.StallHook` in these runs, in seconds.
LIMIT = 20.0


def process_rows(settings: Settings) -> Iterator[Row]:
    """Inject faults into each of two processes."""
    base = settings.folder / 'processes'
    photos = make_images(base)
    yield _lost_row(photos, base)
    yield _stalled_row(photos, base)
    yield _restarted_row(photos, base)


def _seconds_to_end(config: Path, **variables: str) -> tuple[int, float]:
    """Run; return the launcher's status and the seconds since the fault."""
    with start(config, **variables) as process:
        mark = config.parent / 'mark'
        while not mark.exists() and process.poll() is None:
            time.sleep(0.05)
        began = time.monotonic()
        return process.wait(), time.monotonic() - began


def _lost_row(photos: Path, base: Path) -> Row:
    kept = total = 0
    slowest = 0.0
    for fault in ('SIGKILL', 'raise'):
        for rank in (0, 1):
            config = write_config(photos, base / f'{fault}{rank}', fault, rank)
            status, took = _seconds_to_end(config)
            slowest = max(slowest, took)
            named = [m for m in messages(config) if f'Rank {rank} ' in m]
            total += 1
            kept += status != 0 and took < 10 and bool(named)
    return Row(
        'a process that is killed or fails is named, and the others end',
        total,
        kept,
        f'rank 0 and 1; launcher at the latest after {slowest:.1f} s',
    )


def _stalled_row(photos: Path, base: Path) -> Row:
    kept = total = 0
    slowest = 0.0
    for fault in ('SIGSTOP', 'hang'):
        for rank in (0, 1):
            config = write_config(
                photos, base / f'{fault}{rank}', fault, rank, limit=LIMIT
            )
            status, took = _seconds_to_end(config)
            slowest = max(slowest, took - LIMIT)
            said = ' '.join(messages(config))
            total += 1
            kept += (
                status != 0
                and took < LIMIT + 10
                and said.startswith(f'Rank {rank} ')
                and 'iteration 8' in said
            )
            _kill_left(config)
    return Row(
        'a process that stands still is named with its iteration, and all end',
        total,
        kept,
        f'stopped and hanging; limit {LIMIT:g} s; launcher at the latest '
        f'{slowest:.1f} s after it',
    )


def _kill_left(config: Path) -> None:
    """End a process that a broken promise has left stopped."""
    with suppress(OSError):
        pid = int((config.parent / 'mark').read_text())
        command = Path(f'/proc/{pid}/cmdline').read_bytes()
        if str(config).encode() in command:
            os.kill(pid, signal.SIGKILL)


def _restarted_row(photos: Path, base: Path) -> Row:
    whole = write_config(photos, base / 'whole')
    start(whole).wait()
    expected = final_weights(whole)
    kept = 0
    for rank in (0, 1):
        config = write_config(
            photos, base / f'restart{rank}', 'SIGKILL', rank, iteration=15
        )
        status = start(config, MAX_RESTARTS='2').wait()
        if status != 0:
            print(log_of(config)[-3000:])
            continue
        weights = final_weights(config)
        kept += all(
            torch.equal(value, weights[name])
            for name, value in expected.items()
        )
    return Row(
        'a restart by torchrun ends with the weights of an undisturbed run',
        2,
        kept,
        'one of two processes killed in the middle of an epoch; bit by bit',
    )
