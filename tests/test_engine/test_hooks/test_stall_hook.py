# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Trainings with a rank that stands still, and with one that is lost."""

import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import pytest
from helpers import exact_runs
from helpers.exact_runs import run
from helpers.ranks import RUNNER, Ranks
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmcae.engine import SignalHook, StallHook
from mmcae.engine.stalls import LOST, STALLED, Activity, Position
from mmcae.engine.watchdog import Watchdog

LIMIT = 2.0


class Fault(Hook):
    """Calls something in one rank, before an iteration.

    Args:
        rank: The rank.
        fault: The call.
        file: Is made just before.
        at: The index of the iteration.
    """

    priority = 'HIGH'

    def __init__(self, rank, fault, file, at=5) -> None:
        self.rank, self.fault, self.file, self.at = rank, fault, file, at

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if runner.iter == self.at and int(os.environ['RANK']) == self.rank:
            self.file.touch()
            self.fault()


def train_two(folder, rank, fault, limit=LIMIT, *hooks):
    """Train in two ranks with a fault.

    Returns:
        The exit statuses, the seconds from the fault to the end, and what
        both ranks have printed.
    """
    file = folder / 'fault'

    def work(_):
        watch = (SignalHook(), StallHook(limit=limit, long_limit=30.0))
        faults = (Fault(rank, fault, file), *hooks)
        run(folder / 'run', hooks=(*watch, *faults), **RUNNER)

    with Ranks(work, folder) as ranks:
        ranks.wait_for(file)
        began = time.monotonic()
        statuses = ranks.wait(limit + 20)
        took = time.monotonic() - began
        return statuses, took, [ranks.output(0), ranks.output(1)]


def send_self(number):
    return lambda: os.kill(os.getpid(), number)


def hang():
    time.sleep(1000)


def fail():
    raise ValueError('a broken batch')


@pytest.mark.slow
def test_stopped_rank__is_named_and_killed(tmp_path, subtests):
    # Rank 0 holds the store of the process group.
    for rank in (1, 0):
        with subtests.test(rank=rank):
            folder = tmp_path / str(rank)
            folder.mkdir()
            statuses, took, said = train_two(
                folder, rank, send_self(signal.SIGSTOP)
            )
            assert statuses[rank] == -signal.SIGKILL, said
            assert statuses[1 - rank] == STALLED
            other = said[1 - rank]
            assert f'Rank {rank} (process' in other
            assert 'has not answered for 2 s' in other
            assert f'Rank {1 - rank} waits for it, computing iteration 6' in (
                other
            )
            assert took < LIMIT + 8


@pytest.mark.slow
def test_hanging_rank__is_named_and_shows_its_stack(tmp_path):
    statuses, took, said = train_two(tmp_path, 1, hang)
    assert statuses == [STALLED, STALLED], said
    both = ''.join(said)
    assert 'Rank 1 (process' in both
    assert 'stands still for 2 s (limit 2 s)' in both
    assert 'waiting for the batch of iteration 6, in ' in both
    assert 'test_stall_hook.py' in said[1]
    assert 'in hang' in said[1]
    assert 'Killing' not in both
    assert took < LIMIT + 8


@pytest.mark.slow
def test_hanging_worker__shows_its_stack_and_ends(tmp_path, monkeypatch):
    file = tmp_path / 'worker'

    class HangingRows(exact_runs.Rows):
        def __getitem__(self, index):
            if os.environ['RANK'] == '1' and self.read > 12:
                file.write_text(str(os.getpid()))
                while True:
                    pass
            return super().__getitem__(index)

    monkeypatch.setattr(exact_runs, 'Rows', HangingRows)

    def work(_):
        run(
            tmp_path / 'run',
            hooks=(StallHook(limit=LIMIT, long_limit=30.0),),
            workers=1,
            **RUNNER,
        )

    with Ranks(work, tmp_path) as ranks:
        ranks.wait_for(file)
        assert ranks.wait(LIMIT + 20) == [STALLED, STALLED]
        said = ranks.output(1)
        assert 'Rank 1' in ranks.output(0) + said
        assert 'in __getitem__' in said
    worker = Path('/proc') / file.read_text() / 'stat'
    limit = time.monotonic() + 5
    while worker.exists() and worker.read_text().split()[2] != 'Z':
        assert time.monotonic() < limit
        time.sleep(0.01)


@pytest.mark.slow
def test_lost_rank__ends_the_other_one(tmp_path, subtests):
    cases = {
        'killed': (send_self(signal.SIGKILL), 'is gone. Its last report'),
        'failed': (fail, 'failed while waiting for the batch of iteration 6'),
    }
    for name, (fault, words) in cases.items():
        for rank in (1, 0):
            with subtests.test(name, rank=rank):
                folder = tmp_path / f'{name}{rank}'
                folder.mkdir()
                statuses, took, said = train_two(folder, rank, fault, 300.0)
                assert statuses[1 - rank] == LOST, said
                assert statuses[rank] not in (0, None)
                assert took < 10
                assert f'Rank {rank} (process' in said[1 - rank]
                assert words in said[1 - rank]
                if name == 'failed':
                    assert 'ValueError: a broken batch' in said[1 - rank]


@pytest.mark.slow
def test_waiting_rank__ends_although_its_main_thread_hangs(tmp_path):
    """As with NCCL, where no operation fails when a rank is gone."""
    hanging = Fault(0, hang, tmp_path / 'hangs')

    def leave():
        time.sleep(0.5)
        os._exit(7)

    statuses, took, said = train_two(tmp_path, 1, leave, 300.0, hanging)
    assert statuses == [LOST, 7], said
    assert 'is gone' in said[0]
    assert took < 10


@pytest.mark.slow
def test_signal__ends_both_ranks_without_a_word_of_loss(tmp_path):
    statuses, _, said = train_two(tmp_path, 1, send_self(signal.SIGTERM))
    assert statuses == [143, 143], said
    assert 'Rank ' not in ''.join(said)


def test_training__has_its_threads_and_signal_only_while_it_runs(tmp_path):
    seen = []

    class Look(Hook):
        def before_train_iter(self, runner, *args, **kwargs):
            seen.append(
                [t for t in threading.enumerate() if 'mmcae' in t.name]
            )

    run(tmp_path, length=1, hooks=(StallHook(), Look()))
    assert len(seen[0]) == 1
    seen[0][0].join(5)
    assert not seen[0][0].is_alive()


def test_training_that_fails__is_watched_no_longer(tmp_path):
    class Fail(Hook):
        def before_train_iter(self, runner, *args, **kwargs):
            fail()

    hook = StallHook(limit=1.0)
    with pytest.raises(ValueError, match='a broken batch'):
        run(tmp_path, hooks=(hook, Fail()))
    for thread in threading.enumerate():
        if 'mmcae' in thread.name:
            thread.join(5)
            assert not thread.is_alive()


def test_alone__a_stall_is_a_warning(tmp_path, monkeypatch, capfd):
    said = []
    monkeypatch.setattr(Watchdog, '_say', lambda self, text: said.append(text))

    class Slow(Hook):
        def before_train_iter(self, runner, *args, **kwargs):
            if runner.iter == 2:
                time.sleep(0.6)

    hook = StallHook(limit=0.3)
    record, _, _ = run(tmp_path, length=1, hooks=(hook, Slow()))
    assert len(record.losses) == 5
    assert len(said) >= 1
    assert 'waiting for the batch of iteration 3' in said[0]
    assert 'before_train_iter' in capfd.readouterr().err


def test_marks__follow_the_training(tmp_path, monkeypatch):
    marks = []
    monkeypatch.setattr(
        Watchdog,
        'mark',
        lambda self, *args: (
            marks.append(args),
            setattr(self, '_mark', (*args, *(False,) * (4 - len(args)), 0.0)),
        ),
    )
    run(tmp_path, length=2, hooks=(StallHook(),))
    # The constructor's own mark comes first.
    positions = [place for _, _, place, *_ in marks[1:]]
    assert positions == sorted(positions)
    words = [(kind, number) for kind, number, *_ in marks[1:]]
    assert words[:4] == [
        (Activity.START, 1),
        (Activity.STEP, 1),
        (Activity.DATA, 2),
        (Activity.STEP, 2),
    ]
    assert (Activity.SAVE, 5) in words
    assert (Activity.SAVE, 10) in words
    longs = [args[3] for args in marks[1:] if len(args) > 3]
    assert longs[:3] == [True, True, False]


def test_marks__of_a_validation(tmp_path):
    from helpers.resumed_runs import make_runner

    marks = []

    class Watch:
        def __init__(self, *args, **kwargs) -> None:
            pass

        def mark(self, activity, number, position, long=False):
            marks.append((activity, number, position, long))

        def start(self) -> None:
            pass

        finish = start

    hook = StallHook()
    runner: Runner = make_runner(tmp_path, epochs=1)
    runner.register_hook(hook)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('mmcae.engine.hooks.stall_hook.Watchdog', Watch)
        runner.train()
    positions = [place for _, _, place, _ in marks]
    assert positions == sorted(positions)
    kinds = [(kind, number, long) for kind, number, _, long in marks]
    begin = kinds.index((Activity.VAL_DATA, 1, True))
    assert kinds[begin : begin + 6] == [
        (Activity.VAL_DATA, 1, True),
        (Activity.VAL, 1, True),
        (Activity.VAL_DATA, 2, False),
        (Activity.VAL, 2, False),
        (Activity.METRICS, 0, True),
        (Activity.SAVE, 2, True),
    ]
    assert kinds[-1] == (Activity.DATA, 3, False)
    assert marks[begin][2] == Position(2, 1, 0)


@pytest.mark.parametrize('name', ['limit', 'long_limit'])
def test_limits__must_be_positive(name):
    with pytest.raises(ValueError, match=f'{name}=0: must be a positive'):
        StallHook(**{name: 0})


def test_stacks__are_printed_on_a_signal(tmp_path, capfd):
    def ask():
        os.kill(os.getpid(), signal.SIGUSR2)

    class Ask(Hook):
        def before_train_iter(self, runner, *args, **kwargs):
            if runner.iter == 2:
                ask()

    run(tmp_path, length=1, hooks=(StallHook(), Ask()))
    assert 'in ask' in capfd.readouterr().err
    child = multiprocessing.get_context('fork').Process(target=ask)
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGUSR2  # its default again
