# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Saves the accuracies of a sweep in the checkpoint."""

from typing import Any

from mmengine.hooks import Hook

from mmcae.checkpoint.unwrap import unwrap
from mmcae.registry import HOOKS


@HOOKS.register_module()
class SweepAccuracyHook(Hook):
    """Store the accuracies of an evaluation in a `SweepLinearHead`.

    They are saved with the weights, so that a checkpoint says which classifier
    is the best. The log says it, too. The checkpoint at the end of an epoch is
    written before that epoch is evaluated, so it has the accuracies of the
    previous evaluation.

    Raises:
        ValueError: If an evaluation has no top-1 accuracy of a classifier.
    """

    # This runs before the hook that saves the best checkpoint.
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
