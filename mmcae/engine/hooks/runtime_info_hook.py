# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Passes losses to the log without waiting for the GPU."""

from typing import Any

from mmengine.hooks import LoggerHook
from mmengine.hooks import RuntimeInfoHook as MMEngineRuntimeInfoHook
from torch import Tensor

from mmcae.registry import HOOKS

from ..deferred_scalars import DeferredScalars
from ..optimizers.optim_wrapper import SafeStep


@HOOKS.register_module()
class RuntimeInfoHook(MMEngineRuntimeInfoHook):
    """mmengine's ``RuntimeInfoHook`` that reads losses when they are logged.

    mmengine reads every loss from the GPU in every iteration, so the host
    waits for the GPU each time. This hook keeps the losses and reads them once
    in each interval of the logger, just before it logs. The log has the values
    of all iterations and is the same as mmengine's. Other code that reads
    training scalars from the message hub sees those of the last reading.

    A value that is not finite stays out of the log, whose averages it would
    spoil, and out of checkpoints. `NonFiniteHook` reports it.
    """

    def before_train(self, runner: Any) -> None:
        """Create the deferred scalars; give them to the optimizer wrapper."""
        super().before_train(runner)
        self._scalars = DeferredScalars(runner.message_hub)
        loggers = [h for h in runner.hooks if isinstance(h, LoggerHook)]
        self._interval = min((h.interval for h in loggers), default=1)
        wrapper = runner.optim_wrapper
        if isinstance(wrapper, SafeStep):
            wrapper.deferred_scalars = self._scalars

    def after_train_iter(
        self,
        runner: Any,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict | None = None,
    ) -> None:
        """Keep the losses; read them before the logger logs."""
        for key, value in (outputs or {}).items():
            if isinstance(value, Tensor):
                self._scalars.add(f'train/{key}', value)
            else:
                runner.message_hub.update_scalar(f'train/{key}', value)
        if (
            self.every_n_inner_iters(batch_idx, self._interval)
            or self.end_of_epoch(runner.train_dataloader, batch_idx)
            or self.is_last_train_iter(runner)
        ):
            self._scalars.flush()

    def before_save_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Read the values kept so far, so that the checkpoint has them."""
        if getattr(self, '_scalars', None):
            self._scalars.flush()
            checkpoint['message_hub'] = runner.message_hub.state_dict()
