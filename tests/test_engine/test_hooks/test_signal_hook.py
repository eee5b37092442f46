# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""A signal costs no iteration: the run saves, ends, and continues exactly."""

import os
import signal
import time

import pytest
from helpers.exact_runs import run
from mmengine.hooks import Hook

from mmcae.checkpoint.work_dir import checkpoints_in
from mmcae.engine import SignalHook


class SendTo(Hook):
    """Sends this process a signal inside of an iteration.

    Args:
        number: The signal.
        at: The index of the iteration.
        times: How often.
    """

    def __init__(self, number: int, at: int, times: int = 1) -> None:
        self.number, self.at, self.times = number, at, times

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if runner.iter == self.at:
            for _ in range(self.times):
                os.kill(os.getpid(), self.number)
                time.sleep(0.01)


def stop(folder, number: int, by_epoch: bool = True, at: int = 6):
    hooks = (SignalHook(), SendTo(number, at))
    with pytest.raises(SystemExit) as ended:
        run(folder, by_epoch, hooks=hooks)
    return ended.value.code


def test_signal__saves_after_the_iteration_and_continues(tmp_path, subtests):
    for by_epoch in (True, False):
        whole, _, _ = run(tmp_path / f'whole{by_epoch}', by_epoch)
        for name, status in (
            ('SIGTERM', 143),
            ('SIGUSR1', 138),
            ('SIGHUP', 129),
            ('SIGINT', 130),
        ):
            with subtests.test(signal=name, by_epoch=by_epoch):
                folder = tmp_path / f'{name}{by_epoch}'
                code = stop(folder, getattr(signal, name), by_epoch)
                assert code == status
                saved = checkpoints_in(folder)[0].name
                assert saved == (
                    'epoch_1_iter_2.pth' if by_epoch else 'iter_7.pth'
                )
                record, _, _ = run(folder, by_epoch, resume=True)
                assert record.losses == whole.losses[7:]


def test_second_ctrl_c__ends_at_once(tmp_path):
    hooks = (SignalHook(), SendTo(signal.SIGINT, 6, times=2))
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, hooks=hooks)
    assert [path.name for path in checkpoints_in(tmp_path)] == ['epoch_1.pth']
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_signals__have_their_former_handlers_after_training(tmp_path):
    former = signal.getsignal(signal.SIGTERM)
    run(tmp_path, length=1, hooks=(SignalHook(),))
    assert signal.getsignal(signal.SIGTERM) is former
    stop(tmp_path / 'stopped', signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is former


def test_workers__leave_the_decision_to_the_main_process(tmp_path, capfd):
    class ToWorkers(Hook):
        def before_train_iter(
            self, runner, batch_idx, data_batch=None
        ) -> None:
            if runner.iter == 6:
                iterator = runner.train_dataloader._iterator
                for worker in iterator._workers:
                    os.kill(worker.pid, signal.SIGINT)

    record, _, _ = run(tmp_path, workers=2, hooks=(SignalHook(), ToWorkers()))
    assert len(record.losses) == 15
    assert 'saving after this iteration' not in capfd.readouterr().err
