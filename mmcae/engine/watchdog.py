# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Watch over the ranks of a training, and end it when one is lost.

Two threads run beside the training in each process. One exchanges reports
with the other ranks, through the key-value store of the process group: no
collective operation is used, so it works with every backend and while the
main thread hangs. The other thread judges the reports. They are two, because
a request to the store never returns when the process that holds the store is
stopped.
"""

import atexit
import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

from mmcae.engine.processes import this_process
from mmcae.engine.rank_reports import Link
from mmcae.engine.stacks import (
    dump_stacks,
    line_of,
    listen_for_stacks,
    stop_listening_for_stacks,
)
from mmcae.engine.stalls import (
    LOST,
    STALLED,
    Activity,
    Position,
    Report,
    State,
    Verdict,
    describe_loss,
    describe_stall,
    find_stalled,
)

#: Seconds for which the main thread must stand still before it is ended
#: because another rank is lost. Until then, it may fail with a better message.
PATIENCE = 3.0
#: Seconds for which a rank waits for the others before its training begins.
MEETING = 30.0


class Watchdog:
    """Watches the main thread of this process, and the other ranks.

    Args:
        rank: The number of this process.
        limit: Seconds that an iteration, or the wait for its batch, may take.
        long_limit: The same for everything that takes longer, see
            `mmcae.StallHook`.
        link: The connection to the other ranks; None in a single process.
        log: Writes a line to the log.
        frame: The call of the training loop. The watch ends when the main
            thread has left it.
        hosts_store: Whether rank 0 holds the store, and not the launcher.
        clock: Returns seconds.
    """

    def __init__(
        self,
        rank: int,
        limit: float,
        long_limit: float,
        link: Link | None,
        log: Callable[[str], None],
        frame: FrameType | None = None,
        hosts_store: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rank = rank
        self.limit = limit
        self.long_limit = long_limit
        self.link = link
        self.period = min(limit / 20, 2.0)
        if link is not None:
            # Each rank reads the reports of all: keep the store's load low.
            self.period *= max(1, (len(link.other_ranks) + 1) / 64)
        #: after how many seconds a process counts as not answering
        self.silence = 4 * self.period
        self._log = log
        self._frame = frame
        self._hosts_store = hosts_store
        self._clock = clock
        self._thread = threading.get_ident()
        self._process = this_process()
        self._state = State.RUNNING
        self._error = ''
        self._gone: dict[int, float] = {}
        self._warned = 1
        self._looked = clock()
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._exchanged = threading.Event()
        self._former_excepthook: Any = None
        self._workers_dump = False
        self.mark(Activity.START, 0, Position(-1), True)

    def mark(
        self,
        activity: Activity,
        number: int,
        position: Position,
        long: bool = False,
    ) -> None:
        """Note what the main thread does from now on.

        Args:
            activity: What it does.
            number: Of the iteration or batch, for messages.
            position: How far it is.
            long: Whether this may take up to ``long_limit``.
        """
        self._mark = (activity, number, position, long, self._clock())

    def start(self) -> None:
        """Start the threads."""
        self._workers_dump = listen_for_stacks()
        names = {'watch': self._watch}
        if self.link is not None:
            names['exchange'] = self._exchange
            self._former_excepthook = sys.excepthook
            sys.excepthook = self._on_exception
            atexit.register(self._at_exit)
        for name, target in names.items():
            threading.Thread(
                target=target, name=f'mmcae {name}', daemon=True
            ).start()
        if self.link is not None:
            # From now on, all ranks know each other's processes.
            self._exchanged.wait(MEETING)

    def finish(self) -> None:
        """End the watch, and tell the others that this is no loss."""
        self._leave(State.FINISHED)

    def report(self) -> Report:
        """Say what the main thread does."""
        activity, number, position, long, at = self._mark
        idle = self._clock() - at
        return Report(
            self.rank,
            self._process,
            position,
            activity.value.format(number),
            idle,
            self.long_limit if long else self.limit,
            # Only then does it matter, and the look-up costs a little.
            line_of(self._thread) if idle > 2 * self.period else '',
            self._state.value,
            self._error,
        )

    def look(self) -> Verdict | None:
        """Judge once.

        Returns:
            Why the run must end, or None.
        """
        now = self._clock()
        gap = now - self._looked - self.period
        self._looked = now
        if gap > 4 * self.period + 1:
            self._excuse(gap)
        own = self.report()
        if self.link is None:
            self._warn_alone(own)
            return None
        return self.link.verdict or self._judge(self.link, own, now)

    def _excuse(self, gap: float) -> None:
        """Leave out a time for which this process was stopped itself."""
        *mark, at = self._mark
        self._mark = (*mark, at + gap)  # type: ignore[assignment]
        if self.link is not None:
            self.link.excuse(gap)

    def _judge(self, link: Link, own: Report, now: float) -> Verdict | None:
        others = link.others(self.long_limit)
        lost = self._lost(link, others, now)
        if lost and own.idle > PATIENCE:
            return self._verdict(describe_loss(lost), LOST, lost)
        running = [
            one for one in (own, *others) if one.state == State.RUNNING.value
        ]
        if link.failed or now - link.began > self.silence:
            return self._judge_alone(own, running, now - link.began)
        stalled = find_stalled(running, self.limit, self.silence)
        if not stalled:
            return None
        text = describe_stall(stalled, running, self.silence)
        return self._verdict(text, STALLED, stalled)

    def _judge_alone(
        self, own: Report, running: list[Report], silent: float
    ) -> Verdict | None:
        """Judge while the store does not answer: its holder is the suspect."""
        if own.idle <= own.limit:
            return None
        holder = [one for one in running if one.rank == 0 != self.rank]
        if self._hosts_store and holder:
            stalled = [holder[0]._replace(silent=silent)]
            text = describe_stall(stalled, running, self.silence)
            return self._verdict(text, STALLED, stalled)
        text = (
            f'The launcher, which holds the store of the process group, has '
            f'not answered for {silent:.0f} s. '
        )
        text += describe_stall([own], [own], self.silence)
        return self._verdict(text, STALLED, [own])

    def _lost(
        self, link: Link, others: list[Report], now: float
    ) -> list[Report]:
        """Return the ranks that ended before the training did."""
        lost = []
        for one in others:
            if one.state == State.FAILED.value:
                lost.append(one)
            elif one.state == State.RUNNING.value and one.process.is_gone():
                noted = self._gone.setdefault(one.rank, now)
                # Its last report, that it has finished, may be unread.
                if link.failed or link.began > noted:
                    lost.append(one)
        return lost

    def _verdict(
        self, text: str, status: int, reports: list[Report]
    ) -> Verdict:
        return Verdict(text, status, [one.rank for one in reports], self.rank)

    def _warn_alone(self, own: Report) -> None:
        if own.idle <= own.limit:
            self._warned = 1
        elif own.idle > self._warned * own.limit:
            self._warned *= 2
            place = f', in {own.where}' if own.where else ''
            self._say(
                f'This run stands still for {own.idle:.0f} s (limit '
                f'{own.limit:g} s): {own.activity}{place}. The stacks of its '
                'threads follow. It is not ended, because no other process '
                'waits for it.'
            )
            self._dump_stacks()

    def _watch(self) -> None:
        left = 0
        while not self._stop.wait(self.period):
            left = 0 if self._is_training() else left + 1
            if left > 1:
                self._leave(State.FAILED)
                return
            verdict = self.look()
            if verdict is not None and not self._stop.is_set():
                self._end(verdict)

    def _exchange(self) -> None:
        link = self.link
        assert link is not None
        link.meet(self.report(), MEETING)
        while True:
            link.failed = self._hosts_store and link.is_gone(0)
            try:
                if not link.failed:
                    link.exchange(self.report())
            except RuntimeError:  # the launcher or the network is gone
                link.failed = True
            self._exchanged.set()
            if link.failed or self._stop.is_set():
                return
            self._wake.wait(self.period)
            self._wake.clear()

    def _exchange_now(self, seconds: float = 2.0) -> None:
        """Exchange once more, if the store still answers."""
        self._exchanged.clear()
        self._wake.set()
        if self.link is not None and not self.link.failed:
            self._exchanged.wait(seconds)

    def _leave(self, state: State) -> None:
        if self._state is not State.RUNNING:
            return
        self._state = state
        self._frame = None
        self._stop.set()
        self._exchange_now()
        if self._former_excepthook is not None:
            if sys.excepthook == self._on_exception:
                sys.excepthook = self._former_excepthook
            atexit.unregister(self._at_exit)
        if self._workers_dump:
            stop_listening_for_stacks()

    def _at_exit(self) -> None:
        self._leave(State.FAILED)

    def _on_exception(
        self,
        kind: type[BaseException],
        error: BaseException,
        trace: TracebackType | None,
    ) -> None:
        """Print an exception that ends the process, and its cause."""
        self._former_excepthook(kind, error, trace)
        link = self.link
        if link is None or os.getpid() != self._process.pid:
            return  # a forked process
        # A collective operation fails with a RuntimeError when another rank
        # ends. Give the others a moment to say why.
        tries = 10 if isinstance(error, RuntimeError) else 1
        for _ in range(tries):
            self._exchange_now(0.2)
            lost = [
                one
                for one in link.others(self.long_limit)
                if one.state == State.FAILED.value
                or (one.state == State.RUNNING.value and one.process.is_gone())
            ]
            if lost or link.verdict:
                break
            time.sleep(0.1)
        if link.verdict is not None:
            # The others end, and with them what this thread waited for.
            self._say(link.verdict.text)
            end_process(link.verdict.status)
        if lost:
            self._say(describe_loss(lost))
        text = str(error).strip().partition('\n')[0]
        self._error = f'{kind.__name__}: {text[:300]}'
        if lost:
            self._error += f' (after the loss of rank {lost[0].rank})'
        self._leave(State.FAILED)
        if self._hosts_store and self.rank == 0:
            # The store ends with this process. Let the others read why.
            time.sleep(self.period + 0.5)

    def _end(self, verdict: Verdict) -> None:
        """Tell the others, and end this process."""
        link = self.link
        assert link is not None
        if link.verdict is None:
            link.proposal = verdict
            self._exchange_now()
        agreed = link.verdict or verdict
        if agreed.by == self.rank or self.rank == 0 or link.verdict is None:
            self._say(agreed.text)
        stalled = agreed.status == STALLED
        if stalled and self.rank in agreed.ranks:
            self._dump_stacks()
            # It ends last: the error of a broken connection in the other
            # ranks would hide the cause.
            time.sleep(self.period + 0.5)
        # Rank 0 may hold the store: all have to read the verdict first.
        time.sleep(self.period + 0.5)
        if stalled:
            self._kill_silent(link, agreed.ranks)
        end_process(agreed.status)

    def _kill_silent(self, link: Link, ranks: list[int]) -> None:
        """Kill ranks of this machine that cannot end by themselves."""
        here = [
            one.process
            for one in link.others(self.long_limit)
            if one.rank in ranks
            and one.silent > self.silence
            and one.process.is_here()
            and not one.process.is_gone()
        ]
        for process in here:
            self._say(f'Killing {process.name}, which does not answer.')
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)

    def _dump_stacks(self) -> None:
        waits = self._mark[0] in (Activity.DATA, Activity.VAL_DATA)
        dump_stacks(of_workers=waits and self._workers_dump)

    def _is_training(self) -> bool:
        """Whether the main thread is inside of the training loop."""
        if self._frame is None:
            return True
        frame = sys._current_frames().get(self._thread)
        while frame is not None:
            if frame is self._frame:
                return True
            frame = frame.f_back
        return False

    def _say(self, text: str) -> None:
        """Log a text, also if the main thread hangs inside of the log."""
        thread = threading.Thread(target=self._log, args=(text,), daemon=True)
        thread.start()
        thread.join(2)
        if thread.is_alive():
            os.write(2, f'\n{text}\n'.encode())


def end_process(status: int) -> None:
    """End this process and its workers at once."""
    for child in multiprocessing.active_children():
        child.kill()  # a worker that hangs would stay
    os._exit(status)
