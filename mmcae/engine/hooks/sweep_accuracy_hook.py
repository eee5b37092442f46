# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Keeps the result of a sweep with its weights."""

from typing import Any

from mmengine.hooks import Hook

from mmcae.registry import HOOKS

from ..unwrap import unwrap


@HOOKS.register_module()
class SweepAccuracyHook(Hook):
    """Tell a `SweepLinearHead` the accuracies of an evaluation.

    They are saved with the weights, so a checkpoint says which classifier is
    the best; the log does, too. The checkpoint that ends an epoch is written
    before the evaluation of that epoch and has those of the one before.

    Raises:
        ValueError: If an evaluation has no top-1 of each classifier.
    """

    # before a checkpoint of the best is written
    priority = 'NORMAL'

    def after_val_epoch(
        self, runner: Any, metrics: dict[str, float] | None = None
    ) -> None:
        """Store the accuracies in the head."""
        model = unwrap(runner.model)
        head = model.head
        found = metrics or {}
        for i, name in enumerate(head.names):
            if f'{name}/top1' not in found:
                raise ValueError(
                    f'SweepAccuracyHook: no {name}/top1 among the results '
                    f'({", ".join(found)}); set val_evaluator.type='
                    "'mmcae.SweepAccuracy', with 1 in its topk"
                )
            head.accuracy[i] = found[f'{name}/top1']
        runner.logger.info(
            f'Best of {len(head.names)} learning rates: {head.best}, '
            f'{head.accuracy.max():.2f} %'
        )
