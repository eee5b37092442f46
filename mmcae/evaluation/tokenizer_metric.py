# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""How well a tokenizer reconstructs images, and how many codes it uses."""

import math
from typing import Any

import torch
from mmengine.evaluator import BaseMetric

from mmcae.registry import METRICS


@METRICS.register_module()
class TokenizerMetric(BaseMetric):
    """PSNR of the reconstruction from hard tokens, and use of the codes.

    It takes the data samples of ``mmcae.DVAE`` in predict mode. ``psnr`` (dB)
    is computed from the mean squared error over all images. ``codes_used`` and
    ``perplexity`` are computed over the whole dataset, not for each batch.

    Args:
        collect_device: ``'cpu'`` or ``'gpu'``, where the results of several
            processes are collected.
        prefix: Put before the names of the results.
    """

    default_prefix = 'tokenizer'

    def __init__(
        self, collect_device: str = 'cpu', prefix: str | None = None
    ) -> None:
        super().__init__(collect_device, prefix)

    def process(self, data_batch: Any, data_samples: Any) -> None:
        """Keep the tokens and the error of each image.

        Args:
            data_batch: Not used.
            data_samples: Samples with ``tokens`` and ``squared_error``.
        """
        for sample in data_samples:
            self.results.append(
                (float(sample['squared_error']), sample['tokens'].cpu())
            )

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Summarize all images.

        Args:
            results: The values that :meth:`process` kept.

        Returns:
            ``psnr``, ``codes_used`` and ``perplexity``.
        """
        error = sum(error for error, _ in results) / len(results)
        counts = torch.cat([t for _, t in results]).bincount().double()
        share = counts / counts.sum()
        return {
            'psnr': -10 * math.log10(max(error, 1e-10)),
            'codes_used': float((counts > 0).sum()),
            'perplexity': float(torch.special.entr(share).sum().exp()),
        }
