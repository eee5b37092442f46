# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Training loops that continue exactly where a checkpoint was saved."""

import itertools
from collections.abc import Iterator
from typing import Any

import torch
from mmengine.runner import EpochBasedTrainLoop as MMEngineEpochLoop
from mmengine.runner import IterBasedTrainLoop as MMEngineIterLoop

from mmcae.engine.random_state import (
    State,
    preserved_random_state,
    set_random_state,
)
from mmcae.registry import LOOPS


class _BatchesFrom:
    """The batches of a batch sampler, without the first ones.

    Args:
        batch_sampler: Gives the indices of each batch.
        start: How many batches to leave out.
    """

    def __init__(self, batch_sampler: Any, start: int) -> None:
        self.batch_sampler = batch_sampler
        self.start = start

    def __iter__(self) -> Iterator:
        return itertools.islice(self.batch_sampler, self.start, None)

    def __len__(self) -> int:
        return len(self.batch_sampler) - self.start

    def __getattr__(self, name: str) -> Any:
        # hooks call set_epoch of the sampler inside
        return getattr(self.batch_sampler, name)


@LOOPS.register_module()
class EpochBasedTrainLoop(MMEngineEpochLoop):
    """mmengine's loop over epochs, which can continue inside an epoch.

    `mmcae.CheckpointHook` stores the position and the random state and gives
    them back through ``start_batch`` and ``random_state``. A resumed run then
    sees the same batches and draws the same numbers as one that was not
    interrupted. Batches before the position are skipped by their indices; no
    image is decoded for them.

    The state of the main process's generators does not depend on the number
    of workers, nor on whether a validation ran.

    Args:
        *args: See mmengine's ``EpochBasedTrainLoop``.
        **kwargs: The same.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.start_batch = 0
        #: finished batches of the epoch, for hooks after an iteration
        self.batch = 0
        self.random_state: State | None = None

    def run(self) -> torch.nn.Module:
        """Train. A validation between epochs changes no random state."""
        self.runner.call_hook('before_train')
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch()
            self._decide_current_val_interval()
            if self._is_validated():
                with preserved_random_state():
                    self.runner.val_loop.run()
        self.runner.call_hook('after_train')
        return self.runner.model

    def _is_validated(self) -> bool:
        """Return whether a validation follows the epoch that just ended."""
        if self.runner.val_loop is None or self._epoch < self.val_begin:
            return False
        is_last = self._epoch == self._max_epochs
        return is_last or self._epoch % self.val_interval == 0

    def run_epoch(self) -> None:
        """Iterate over the rest of an epoch."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        start, self.start_batch = self.start_batch, 0
        for idx, data_batch in enumerate(self._batches(start), start):
            self.batch = idx + 1
            self.run_iter(idx, data_batch)
        self.batch = 0
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def _batches(self, start: int) -> Iterator:
        if self.random_state is not None:
            set_random_state(self.random_state)
            self.random_state = None
        loader = self.dataloader
        batch_sampler = loader.batch_sampler
        rest = _BatchesFrom(batch_sampler, start)
        if start:
            # DataLoader forbids the assignment: iterators that exist keep
            # theirs. Here the first one is still to be made.
            loader.__dict__['batch_sampler'] = rest
        # An iterator draws the seed of its workers when it is made; one with
        # persistent workers is made once for all epochs.
        with preserved_random_state():
            iterator = iter(loader)
        if not start:
            torch.empty((), dtype=torch.int64).random_()
        try:
            yield from iterator
        finally:
            # persistent workers keep the object for the next epochs
            rest.start = 0
            loader.__dict__['batch_sampler'] = batch_sampler


@LOOPS.register_module()
class IterBasedTrainLoop(MMEngineIterLoop):
    """mmengine's loop over iterations, which restores the random state.

    `mmcae.CheckpointHook` stores the state and gives it back through
    ``random_state``. mmengine's loop skips the batches that were used.

    Args:
        *args: See mmengine's ``IterBasedTrainLoop``.
        **kwargs: The same.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.random_state: State | None = None

    def run_iter(self, data_batch: Any) -> None:
        """Run an iteration; the first after a resume restores the state."""
        if self.random_state is not None:
            set_random_state(self.random_state)
            self.random_state = None
        super().run_iter(data_batch)
