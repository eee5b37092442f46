# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Ends a training in which a rank stands still or is lost."""

import itertools
import os
import sys
from types import FrameType
from typing import Any

from mmengine.dist import get_rank, get_world_size
from mmengine.hooks import Hook
from torch import distributed

from mmcae.engine.stalls import Activity, Position
from mmcae.engine.watchdog import Link, Watchdog
from mmcae.registry import HOOKS

# All processes train equally often, so they count alike.
_trainings = itertools.count()


@HOOKS.register_module()
class StallHook(Hook):
    """Name a rank that stands still or is lost, and end the run.

    Without it, the other ranks wait for such a rank in a collective
    operation until the time limit of the process group, half an hour with
    gloo, and nothing says which rank it was.

    - A rank that stands still for longer than ``limit`` is named in the log
      with its iteration, what it does, and its line of code. It writes the
      stacks of its threads (and of its data-loading workers) to stderr if it
      can; the other ranks of its machine kill it if it cannot. All ranks end
      with status 75.
    - If a rank was killed or failed, the others say so and end within 10 s
      with status 1.
    - A single process only warns, with its stacks: nobody waits for it.

    Between two iterations of the training this costs two assignments. A
    thread exchanges reports with the other ranks, at most every two seconds.
    ``kill -USR2 PROCESS`` writes the stacks of a process at any time.

    Args:
        limit: How many seconds an iteration of the training or validation,
            or the wait for its batch, may take.
        long_limit: The same for the first iteration of the training and of
            each validation (compilation, start of the workers), for the
            metrics, and for saving.

    Raises:
        ValueError: If a limit is not positive.
    """

    # After the hooks that save, whose time is not that of the next iteration.
    priority = 'LOWEST'

    def __init__(
        self, limit: float = 300.0, long_limit: float = 1800.0
    ) -> None:
        for name, value in (('limit', limit), ('long_limit', long_limit)):
            if not value > 0:
                raise ValueError(
                    f'StallHook: {name}={value}: must be a positive number '
                    'of seconds; leave the hook out to watch nothing'
                )
        self.limit = limit
        self.long_limit = max(limit, long_limit)
        self._watchdog: Watchdog | None = None
        self._first = True
        self._stage = 0

    def before_train(self, runner: Any) -> None:
        """Start to watch."""
        world = get_world_size()
        link = None
        number = next(_trainings)
        if world > 1:
            group = distributed.group.WORLD
            assert group is not None
            store = group.get_group_store()
            # A connection of its own: the main thread keeps the other one
            # busy while it waits for a key.
            link = Link(
                distributed.PrefixStore(
                    f'mmcae_watchdog_{number}', store.clone()
                ),
                get_rank(),
                world,
            )
        self._watchdog = Watchdog(
            get_rank(),
            self.limit,
            self.long_limit,
            link,
            runner.logger.error,
            _loop_frame(),
            os.environ.get('TORCHELASTIC_USE_AGENT_STORE') != 'True',
        )
        self._first, self._stage = True, 0
        self._mark(Activity.START, runner.iter + 1, runner, True)
        self._watchdog.start()

    def before_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None
    ) -> None:
        """Note that the batch is there."""
        self._stage = 4
        self._mark(Activity.STEP, runner.iter + 1, runner, self._first)

    def after_train_iter(
        self,
        runner: Any,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict | None = None,
    ) -> None:
        """Note that an iteration is finished."""
        self._first = False
        if self._watchdog is not None:
            finished = runner.iter + 1
            self._stage = 0
            self._watchdog.mark(
                Activity.DATA, finished + 1, Position(finished)
            )

    def after_train_epoch(self, runner: Any) -> None:
        """Note that what the other hooks did after an epoch is done."""
        self._mark(Activity.DATA, runner.iter + 1, runner)

    def before_val(self, runner: Any) -> None:
        """Note that a validation begins."""
        self._stage = 1
        self._mark(Activity.VAL_DATA, 1, runner, True)

    def before_val_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None
    ) -> None:
        """Note that a batch is there."""
        self._mark(
            Activity.VAL,
            batch_idx + 1,
            runner,
            batch_idx == 0,
            2 * batch_idx + 1,
        )

    def after_val_iter(
        self,
        runner: Any,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Any = None,
    ) -> None:
        """Note that a batch is finished; the metrics follow the last one."""
        done = batch_idx + 1
        if done == len(runner.val_dataloader):
            self._stage = 2
            self._mark(Activity.METRICS, 0, runner, True)
        else:
            self._mark(Activity.VAL_DATA, done + 1, runner, False, 2 * done)

    def after_val_epoch(
        self, runner: Any, metrics: dict[str, float] | None = None
    ) -> None:
        """Note that a validation is finished."""
        self._stage = 3
        self._mark(Activity.DATA, runner.iter + 1, runner)

    def before_save_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Note that a checkpoint is written."""
        # Inside of an iteration, it is not counted yet.
        finished = runner.iter + (self._stage == 4)
        self._mark(Activity.SAVE, finished, runner, True)

    def after_train(self, runner: Any) -> None:
        """Stop to watch."""
        if self._watchdog is not None:
            self._watchdog.finish()
            self._watchdog = None

    def before_early_end(self, runner: Any) -> None:
        """Stop to watch; `mmcae.SignalHook` calls this on all ranks."""
        self.after_train(runner)

    def _mark(
        self,
        activity: Activity,
        number: int,
        runner: Any,
        long: bool = False,
        batch: int = 0,
    ) -> None:
        if self._watchdog is not None:
            position = Position(runner.iter, self._stage, batch)
            self._watchdog.mark(activity, number, position, long)


def _loop_frame() -> FrameType | None:
    """Return the call of the loop's ``run``, which called the hooks."""
    # this function, before_train, Runner.call_hook, run
    try:
        return sys._getframe(3)
    except ValueError:  # a direct call, without a Runner
        return None
