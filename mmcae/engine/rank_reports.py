# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Exchange what the ranks of a training report of themselves.

The reports go through the key-value store of the process group. No collective
operation is used, so this works with every backend, and while the main thread
hangs in one.
"""

import itertools
import json
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

from mmcae.engine.processes import Process
from mmcae.engine.stalls import Position, Report, Verdict

_VERDICT = 'verdict'


class Link:
    """Exchanges reports and the verdict with the other ranks.

    Args:
        store: A ``torch.distributed`` store that no other thread uses.
        rank: The number of this process.
        world: The number of processes.
        clock: Returns seconds. Clocks of other processes are never compared.
    """

    def __init__(
        self,
        store: Any,
        rank: int,
        world: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rank = rank
        self.verdict: Verdict | None = None
        self.proposal: Verdict | None = None
        #: whether the store can be reached
        self.failed = False
        #: when the last complete exchange began
        self.began = clock()
        self._store = store
        self._clock = clock
        self._start = self.began
        self.other_ranks = [one for one in range(world) if one != rank]
        self._present: list[int] = []
        self._seen: dict[int, tuple[bytes, Report, float]] = {}
        self._count = itertools.count()

    def meet(self, own: Report, seconds: float) -> None:
        """Write the own report, and wait for those of all other ranks.

        Args:
            own: The report.
            seconds: How long to wait at most.
        """
        with suppress(RuntimeError):
            self._write(own)
            keys = [str(one) for one in self.other_ranks]
            self._store.wait(keys, timedelta(seconds=seconds))

    def _write(self, own: Report) -> None:
        text = json.dumps([next(self._count), own])
        self._store.set(str(self.rank), text)

    def exchange(self, own: Report) -> None:
        """Write the own report, and read those of the others.

        Raises:
            RuntimeError: If the store is gone.
        """
        began = self._clock()
        self._write(own)
        if self.proposal is not None:
            agreed = self._store.compare_set(
                _VERDICT, '', json.dumps(self.proposal)
            )
            self.verdict = Verdict(*json.loads(agreed))
        elif self._store.check([_VERDICT]):
            self.verdict = Verdict(*json.loads(self._store.get(_VERDICT)))
        # A request for a key that does not exist would wait.
        self._present += [
            one
            for one in self.other_ranks
            if one not in self._present and self._store.check([str(one)])
        ]
        texts = self._store.multi_get([str(one) for one in self._present])
        now = self._clock()
        for one, text in zip(self._present, texts, strict=True):
            if one not in self._seen or self._seen[one][0] != text:
                self._seen[one] = (text, _read_report(text), now)
        self.began = began

    def others(self, limit: float) -> list[Report]:
        """Return what is known of the other ranks, as of now.

        Args:
            limit: For how many seconds a rank may not have begun.
        """
        now = self._clock()
        reports = []
        for one in self.other_ranks:
            if one in self._seen:
                _, report, at = self._seen[one]
            else:
                at, report = self._start, _absent(one, limit)
            since = now - at
            reports.append(
                report._replace(idle=report.idle + since, silent=since)
            )
        return reports

    def is_gone(self, rank: int) -> bool:
        """Whether the process of another rank has certainly ended."""
        return rank in self._seen and self._seen[rank][1].process.is_gone()

    def excuse(self, seconds: float) -> None:
        """Leave out a time during which this process did not run."""
        self.began += seconds
        self._start += seconds
        for one, (text, report, at) in self._seen.items():
            self._seen[one] = (text, report, at + seconds)


def _read_report(text: bytes) -> Report:
    rank, process, position, *rest = json.loads(text)[1]
    return Report(rank, Process(*process), Position(*position), *rest)


def _absent(rank: int, limit: float) -> Report:
    return Report(
        rank,
        Process(0, '', '', ''),
        Position(-2),
        'not in the training yet',
        0.0,
        limit,
    )
