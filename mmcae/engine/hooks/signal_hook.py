# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Saves a run that is told to stop, after the iteration that runs."""

import os
import signal
import sys
from types import FrameType
from typing import Any

import torch
from mmengine.dist import barrier, get_world_size
from mmengine.hooks import Hook
from torch import distributed

from mmcae.engine.hooks.checkpoint_hook import CheckpointHook
from mmcae.registry import HOOKS

#: What schedulers, terminals and users send. Windows lacks some.
SIGNALS = tuple(
    getattr(signal, name)
    for name in ('SIGTERM', 'SIGUSR1', 'SIGHUP', 'SIGINT')
    if hasattr(signal, name)
)


@HOOKS.register_module()
class SignalHook(Hook):
    """Save and end on SIGTERM, SIGUSR1, SIGHUP and SIGINT.

    The iteration that runs is finished, `mmcae.CheckpointHook` saves, and the
    process ends with the status 128 + the number of the signal (143, 138,
    129, 130). A second SIGINT (Ctrl-C) ends it at once. With several
    processes all save at the same iteration, whichever of them got the
    signal.
    """

    # after every other hook of the iteration
    priority = 'LOWEST'

    def __init__(self) -> None:
        self._signal = 0
        self._former: dict[int, Any] = {}
        self._process = os.getpid()
        self._group: Any = None
        self._flag: torch.Tensor | None = None
        self._work: Any = None

    def before_train(self, runner: Any) -> None:
        """Listen to the signals from now on."""
        if get_world_size() > 1:
            # Of its own, on the CPU: no GPU has to wait for it.
            self._group = distributed.new_group(backend='gloo')
        self._process = os.getpid()
        try:
            for number in SIGNALS:
                self._former[number] = signal.signal(number, self._note)
        except ValueError:  # not the main thread
            self._former.clear()

    def after_train_iter(
        self,
        runner: Any,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict | None = None,
    ) -> None:
        """Save and end if a process got a signal."""
        number = self._agreed()
        if number:
            self._save_and_end(runner, number)

    def after_train(self, runner: Any) -> None:
        """Listen no longer."""
        self._stop_listening()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            return  # a data-loading worker; the main process decides
        again = self._signal == number == signal.SIGINT
        self._signal = number
        if again:
            raise KeyboardInterrupt
        name = signal.Signals(number).name
        more = '; once more ends at once' if number == signal.SIGINT else ''
        # Not the logger: it may be in the middle of a line.
        sys.stderr.write(f'\n{name}: saving after this iteration{more}\n')

    def _agreed(self) -> int:
        """Return the signal on which all processes agree, or 0.

        The processes exchange what they got while the next iteration runs,
        so an agreement comes one iteration later and nothing waits.
        """
        if self._group is None:
            return self._signal
        agreed = self._wait()
        self._flag = torch.tensor(self._signal)
        self._work = distributed.all_reduce(
            self._flag,
            distributed.ReduceOp.MAX,
            group=self._group,
            async_op=True,
        )
        return agreed

    def _wait(self) -> int:
        if self._work is None or self._flag is None:
            return 0
        self._work.wait()
        return int(self._flag)

    def _save_and_end(self, runner: Any, number: int) -> None:
        self._wait()
        hooks = [h for h in runner.hooks if isinstance(h, CheckpointHook)]
        path = hooks[0].save_now(runner) if hooks else None
        barrier()
        name = signal.Signals(number).name
        if path is None:
            runner.logger.error(f'{name}: nothing could be saved.')
        else:
            runner.logger.info(
                f'{name}: saved {path} after iteration {runner.iter + 1}; '
                'continue with --resume.'
            )
        self._stop_listening()
        # All processes end; mmcae.StallHook must not take it for a loss.
        runner.call_hook('before_early_end')
        raise SystemExit(128 + number)

    def _stop_listening(self) -> None:
        self._wait()
        self._work = None
        for number, handler in self._former.items():
            signal.signal(number, handler)
        self._former.clear()
