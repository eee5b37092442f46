# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Which rank stands still: the comparison, without processes."""

from mmcae.engine.processes import Process, this_process
from mmcae.engine.stalls import (
    Activity,
    Position,
    Report,
    State,
    describe_loss,
    describe_stall,
    find_stalled,
)

LIMIT, SILENCE = 20.0, 4.0


def report(rank, position, activity=Activity.STEP, **more) -> Report:
    settings = dict(idle=21.0, limit=LIMIT)
    settings.update(more)
    return Report(
        rank,
        Process(100 + rank, 'node', 'boot', '5'),
        position,
        activity.value.format(position.iteration + 1),
        **settings,
    )


def stalled(*reports: Report) -> list[int]:
    return [one.rank for one in find_stalled(reports, LIMIT, SILENCE)]


STEP, DATA = Position(36, 4), Position(36, 0)


def test_find_stalled__the_rank_that_is_behind():
    waiting = [report(rank, STEP) for rank in (0, 2)]
    assert stalled(*waiting, report(1, DATA, Activity.DATA)) == [1]
    assert stalled(report(0, Position(37)), report(1, STEP)) == [1]


def test_find_stalled__nobody_before_the_limit():
    late = report(1, DATA, Activity.DATA, idle=19.0)
    assert stalled(report(0, STEP), late) == []
    assert find_stalled([], LIMIT, SILENCE) == []


def test_find_stalled__a_long_activity_has_its_own_limit():
    saving = report(0, STEP, Activity.SAVE, limit=100.0, idle=60.0)
    assert stalled(saving, report(1, Position(37))) == []
    assert stalled(saving._replace(idle=101.0), report(1, STEP)) == [0, 1]


def test_find_stalled__at_the_same_position_the_one_that_does_not_answer():
    stopped = report(1, STEP, silent=21.0)
    assert stalled(report(0, STEP), stopped, report(2, STEP)) == [1]
    # The same position, but one has come there later: it is at work.
    assert stalled(report(0, STEP), report(1, STEP, idle=3.0)) == []
    # All answer: their stacks have to tell.
    assert stalled(report(0, STEP), report(1, STEP)) == [0, 1]


def test_find_stalled__a_process_that_does_not_answer_has_no_long_limit():
    stopped = report(1, Position(0), limit=1800.0, idle=21.0, silent=20.5)
    assert stalled(report(0, STEP), stopped) == [1]
    assert stalled(report(0, STEP), stopped._replace(silent=19.0)) == []


def test_find_stalled__validation_follows_its_iteration():
    order = [
        Position(36, 0),
        Position(36, 1),
        Position(36, 1, 1),
        Position(36, 1, 2),
        Position(36, 2),
        Position(36, 3),
        Position(36, 4),
        Position(37),
    ]
    assert order == sorted(order)


def test_describe_stall__names_rank_iteration_activity_and_who_waits():
    late = report(1, DATA, Activity.DATA, where='data/slow.py:12 (read)')
    ranks = [report(0, STEP), late, report(2, STEP)]
    assert describe_stall([late], ranks, SILENCE) == (
        'Rank 1 (process 101 on node) stands still for 21 s (limit 20 s): '
        'waiting for the batch of iteration 37, in data/slow.py:12 (read). '
        'Ranks 0, 2 wait for it, computing iteration 37. All processes end '
        'with status 75; continue with --resume.'
    )


def test_describe_stall__says_that_a_process_does_not_answer():
    stopped = report(1, STEP, silent=21.0)
    text = describe_stall([stopped], [report(0, STEP), stopped], SILENCE)
    assert text.startswith(
        'Rank 1 (process 101 on node) has not answered for 21 s: its process '
        'is stopped, or its machine or the network is down. Its last report: '
        'computing iteration 37. Rank 0 waits for it'
    )
    many = [report(rank, STEP) for rank in range(10)]
    text = describe_stall([stopped], [*many, stopped], SILENCE)
    assert 'The other 9 ranks wait for it' in text


def test_describe_loss__says_what_is_known():
    gone = report(1, STEP, silent=2.0)
    assert describe_loss([gone]).startswith(
        'Rank 1 (process 101 on node) is gone. Its last report, 2.0 s ago: '
        'computing iteration 37. The other processes'
    )
    failed = gone._replace(state=State.FAILED.value)
    assert 'left the training while computing iteration 37.' in describe_loss(
        [failed]
    )
    failed = failed._replace(error='ValueError: a broken batch')
    assert (
        'failed while computing iteration 37: ValueError: a broken batch. The'
    ) in describe_loss([failed])


def test_process__is_gone_only_if_that_is_certain():
    mine = this_process()
    assert mine.is_here()
    assert not mine.is_gone()
    # The id was given to another process since.
    assert mine._replace(started='1').is_gone()
    elsewhere = mine._replace(machine='another boot', started='1')
    assert not elsewhere.is_here()
    assert not elsewhere.is_gone()
    assert not mine._replace(machine='', started='1').is_gone()
