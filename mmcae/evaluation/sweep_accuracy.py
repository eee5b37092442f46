# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Accuracy of each classifier of a sweep, and of the best one."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric

from mmcae.registry import METRICS


@METRICS.register_module()
class SweepAccuracy(BaseMetric):
    """Top-k accuracy of each classifier of a `SweepLinearHead`.

    The results, in percent, are named ``lr0.8/top1`` and so on. Those of the
    best classifier are also named ``accuracy/top1`` and so on. The best one
    has the highest accuracy at the first of ``topk``. It is chosen on the
    same images that are evaluated, as in reports of the best of several runs.

    Args:
        topk: A prediction is correct if the label is among the first k.
        collect_device: ``'cpu'`` or ``'gpu'``, where the results of several
            processes are collected.
        prefix: Put before the names of the results.
    """

    default_prefix = ''

    def __init__(
        self,
        topk: int | Sequence[int] = (1, 5),
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device, prefix)
        self.topk = (topk,) if isinstance(topk, int) else tuple(topk)
        self.names: list[str] = []

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep whether each classifier is correct, ``(heads, topk)``.

        Args:
            data_batch: Not used.
            data_samples: Samples with ``sweep_labels`` and ``gt_label``.

        Raises:
            ValueError: If there are fewer labels than ``topk`` asks for.
        """
        for sample in data_samples:
            self.names = list(sample['sweep_labels'])
            labels = np.stack(
                [x.numpy() for x in sample['sweep_labels'].values()]
            )
            if max(self.topk) > labels.shape[1]:
                raise ValueError(
                    f'SweepAccuracy: topk={self.topk}, but predictions have '
                    f'{labels.shape[1]} labels; see model.head.topk'
                )
            right = labels == sample['gt_label'].cpu().numpy()
            self.results.append(
                np.stack([right[:, :k].any(1) for k in self.topk], axis=1)
            )

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Summarize all images.

        Args:
            results: The arrays that :meth:`process` kept.

        Returns:
            The accuracies of the best classifier, then those of each.
        """
        table = 100 * np.mean(results, axis=0)
        best = table[table[:, 0].argmax()]
        rows = dict(
            zip(['accuracy', *self.names], [best, *table], strict=True)
        )
        return {
            f'{name}/top{k}': float(value)
            for name, row in rows.items()
            for k, value in zip(self.topk, row, strict=True)
        }
