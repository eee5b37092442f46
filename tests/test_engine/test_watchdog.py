# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The watch with a clock and a store of its own, without processes."""

import json
import sys

import pytest
from torch.distributed import HashStore

from mmcae.engine.processes import this_process
from mmcae.engine.stalls import LOST, STALLED, Activity, Position, State
from mmcae.engine.watchdog import Link, Watchdog


class Clock:
    """Stands until it is set forward."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Pair:
    """The watchdogs of two ranks, which share a store and a clock."""

    def __init__(self, limit: float = 20.0, holder: bool = True) -> None:
        self.clock = Clock()
        self.lines: list[str] = []
        store = HashStore()
        self.links = [Link(store, rank, 2, self.clock) for rank in (0, 1)]
        self.dogs = [
            Watchdog(
                rank,
                limit,
                1800.0,
                self.links[rank],
                self.lines.append,
                hosts_store=holder,
                clock=self.clock,
            )
            for rank in (0, 1)
        ]

    def mark(self, rank: int, activity: Activity, *position: int) -> None:
        place = Position(*position)
        self.dogs[rank].mark(activity, place.iteration + 1, place)

    def exchange(self, *ranks: int) -> None:
        for rank in ranks:
            self.links[rank].exchange(self.dogs[rank].report())

    def pass_time(self, seconds: float, *alive: int):
        """Let the ranks look each second; return their last verdicts."""
        verdicts: list = [None, None]
        for _ in range(int(seconds)):
            self.clock.now += 1
            self.exchange(*alive)
            for rank in alive:
                verdicts[rank] = verdicts[rank] or self.dogs[rank].look()
        return verdicts


@pytest.fixture
def pair():
    return Pair()


def train(pair, rank, iteration):
    pair.mark(rank, Activity.STEP, iteration, 4)


def test_look__names_the_rank_that_waits_for_data(pair):
    train(pair, 0, 36)
    pair.mark(1, Activity.DATA, 36)
    assert pair.pass_time(20, 0, 1) == [None, None]
    # A report of another rank can be older by a second.
    for verdict in pair.pass_time(2, 0, 1):
        assert verdict.status == STALLED
        assert verdict.ranks == [1]
        assert 'waiting for the batch of iteration 37' in verdict.text


def test_look__names_the_rank_that_does_not_answer(pair):
    train(pair, 0, 36)
    train(pair, 1, 36)
    assert pair.pass_time(5, 0, 1) == [None, None]
    verdict, _ = pair.pass_time(21, 0)
    assert verdict.ranks == [1]
    assert 'Rank 1' in verdict.text
    assert 'not answered' in verdict.text


def test_look__progress_of_both_is_no_stall(pair):
    for iteration in range(10):
        train(pair, 0, iteration)
        train(pair, 1, iteration)
        assert pair.pass_time(15, 0, 1) == [None, None]


def test_look__a_store_that_does_not_answer_blames_its_holder(pair):
    train(pair, 1, 36)
    train(pair, 0, 36)
    pair.pass_time(3, 0, 1)
    verdict = None
    for _ in range(18):  # rank 1 cannot exchange
        pair.clock.now += 1
        verdict = verdict or pair.dogs[1].look()
    assert verdict.ranks == [0]
    assert 'Rank 0' in verdict.text


def test_look__the_launcher_may_hold_the_store():
    pair = Pair(holder=False)
    train(pair, 0, 36)
    train(pair, 1, 36)
    pair.pass_time(3, 0, 1)
    verdict = None
    for _ in range(18):
        pair.clock.now += 1
        verdict = verdict or pair.dogs[1].look()
    assert verdict.ranks == [1]
    assert verdict.text.startswith('The launcher')


def test_look__a_time_in_which_this_process_was_stopped_does_not_count(pair):
    train(pair, 0, 36)
    train(pair, 1, 36)
    pair.pass_time(3, 0, 1)
    pair.clock.now += 3600  # a job that was suspended, a closed lid
    assert pair.dogs[0].look() is None
    assert pair.dogs[1].look() is None
    assert pair.pass_time(10, 0, 1) == [None, None]


def test_look__a_rank_that_never_began(pair):
    train(pair, 0, 0)
    pair.dogs[0].long_limit = 60.0
    verdict, _ = pair.pass_time(21, 0)
    assert 'not in the training yet' in verdict.text
    assert verdict.ranks == [1]


def test_look__a_process_that_is_gone(pair, monkeypatch):
    train(pair, 0, 36)
    train(pair, 1, 36)
    pair.exchange(1, 0)
    pair.dogs[1]._process = this_process()._replace(started='1')
    pair.exchange(1, 0)
    verdict, _ = pair.pass_time(2, 0)
    assert verdict is None  # it may have finished, or rank 0 may fail itself
    verdict, _ = pair.pass_time(3, 0)
    assert verdict.status == LOST
    assert verdict.ranks == [1]
    assert 'is gone' in verdict.text


def test_look__a_rank_that_finished_is_not_lost(pair):
    train(pair, 0, 36)
    pair.dogs[1]._process = this_process()._replace(started='1')
    pair.dogs[1]._state = State.FINISHED
    pair.exchange(1)
    assert pair.pass_time(20, 0) == [None, None]


def test_look__a_failure_is_told_with_its_error(pair):
    train(pair, 0, 36)
    train(pair, 1, 36)
    pair.dogs[1]._state = State.FAILED
    pair.dogs[1]._error = 'ValueError: a broken batch'
    pair.exchange(1)
    verdict, _ = pair.pass_time(4, 0)
    assert verdict.status == LOST
    assert 'ValueError: a broken batch' in verdict.text


def test_exchange__the_first_verdict_counts(pair):
    train(pair, 0, 36)
    pair.mark(1, Activity.DATA, 36)
    first, second = pair.pass_time(21, 0, 1)
    pair.links[1].proposal = second
    pair.exchange(1)
    pair.links[0].proposal = first
    pair.exchange(0)
    assert pair.links[0].verdict == pair.links[1].verdict
    assert pair.links[0].verdict.by == 1
    assert pair.dogs[0].look().by == 1


def test_report__survives_the_store(pair):
    train(pair, 1, 36)
    pair.clock.now += 3
    pair.exchange(1, 0)
    (seen,) = pair.links[0].others(1800.0)
    assert seen == pair.dogs[1].report()
    json.dumps(seen)


def test_alone__warns_again_after_twice_the_time(capfd):
    clock, lines = Clock(), []
    dog = Watchdog(0, 20.0, 1800.0, None, lines.append, clock=clock)
    dog.mark(Activity.DATA, 37, Position(36))
    counts = []
    for _ in range(100):
        clock.now += 1
        assert dog.look() is None
        counts.append(len(lines))
    assert [counts.index(n) + 1 for n in (1, 2, 3)] == [21, 41, 81]
    assert 'waiting for the batch of iteration 37' in lines[0]
    assert 'test_alone__warns_again' in capfd.readouterr().err
    dog.mark(Activity.STEP, 37, Position(36, 4))
    clock.now += 19
    dog.look()
    assert len(lines) == 3


def test_is_training__ends_when_the_loop_has_been_left():
    def loop():
        return Watchdog(0, 1.0, 1.0, None, print, sys._getframe())

    def inside():
        dog = Watchdog(0, 1.0, 1.0, None, print, sys._getframe())
        return dog._is_training()

    assert inside()
    assert not loop()._is_training()


def test_period__keeps_the_load_of_the_store_low():
    def period(limit, world):
        link = Link(HashStore(), 0, world)
        return Watchdog(0, limit, 1800.0, link, print).period

    assert period(300.0, 2) == 2.0
    assert period(4.0, 2) == pytest.approx(0.2)
    assert period(300.0, 640) == pytest.approx(20.0)
