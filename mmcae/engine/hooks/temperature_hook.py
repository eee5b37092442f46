# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Drives what anneals over a run, e.g. the tokenizer's temperature."""

from collections.abc import Callable
from typing import Any

from mmengine.hooks import Hook

from mmcae.registry import HOOKS

from ..unwrap import unwrap


@HOOKS.register_module()
class TemperatureHook(Hook):
    """Tell the model before each iteration how much of the run is done.

    The model's ``set_progress(fraction)`` is called with
    ``iteration / total iterations``. The fraction depends on nothing else,
    so a resumed run continues where it stood and nothing has to be saved.

    Raises:
        TypeError: At the start, if the model has no ``set_progress``.
    """

    priority = 'NORMAL'

    def before_train(self, runner: Any) -> None:
        """Set the state of the first iteration (of a resumed run too)."""
        self._advance(runner)

    def before_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None
    ) -> None:
        """Set the state of the iteration that begins."""
        self._advance(runner)

    def _advance(self, runner: Any) -> None:
        model = unwrap(runner.model)
        set_progress: Callable | None = getattr(model, 'set_progress', None)
        if set_progress is None:
            raise TypeError(
                f'TemperatureHook: {type(model).__name__} has no '
                'set_progress(fraction); remove the hook from custom_hooks.'
            )
        set_progress(min(runner.iter / max(runner.max_iters, 1), 1.0))
