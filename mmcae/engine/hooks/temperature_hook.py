# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Anneals a setting of the model, such as the tokenizer's temperature."""

from collections.abc import Callable
from typing import Any

from mmengine.hooks import Hook

from mmcae.checkpoint.unwrap import unwrap
from mmcae.registry import HOOKS


@HOOKS.register_module()
class TemperatureHook(Hook):
    """Tell the model before each iteration how much of the run is done.

    The model's ``set_progress(fraction)`` is called with
    ``iteration / total iterations``. The fraction depends on nothing else,
    so a resumed run continues correctly and nothing has to be saved.

    Raises:
        TypeError: At the start, if the model has no ``set_progress``.
    """

    priority = 'NORMAL'

    def before_train(self, runner: Any) -> None:
        """Set the progress of the first iteration, also in a resumed run."""
        self._set_progress(runner)

    def before_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None
    ) -> None:
        """Set the progress of the next iteration."""
        self._set_progress(runner)

    def _set_progress(self, runner: Any) -> None:
        model = unwrap(runner.model)
        set_progress: Callable | None = getattr(model, 'set_progress', None)
        if set_progress is None:
            raise TypeError(
                f'TemperatureHook: {type(model).__name__} has no '
                'set_progress(fraction); remove the hook from custom_hooks.'
            )
        set_progress(min(runner.iter / max(runner.max_iters, 1), 1.0))
