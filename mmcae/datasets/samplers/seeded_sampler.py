# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Sampler for epoch loops that gives every sample its identity."""

from collections.abc import Iterator

from mmengine.dataset import DefaultSampler

from mmcae.datasets.identity import SampleIndex
from mmcae.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class SeededSampler(DefaultSampler):
    """mmengine's ``DefaultSampler`` that yields :class:`SampleIndex`.

    Order, and partition over processes, are those of ``DefaultSampler``; each
    index also carries ``(seed, epoch, index)``, from which the transforms of
    mmcae draw.

    Args:
        dataset: The data set, or anything with a length.
        shuffle: Whether to permute the indices anew in each epoch.
        seed: The run's seed, equal on all processes. mmengine's Runner
            passes its own, or None with ``diff_rank_seed=True``: then the
            processes agree on the first one's draw.
        round_up: Whether to repeat samples until all processes get the same
            number. Repeated ones have the same identity, hence the same
            pixels.
    """

    def __iter__(self) -> Iterator[int]:
        """Yield this process's indices for the current epoch."""
        seed, epoch = self.seed, self.epoch
        for index in super().__iter__():
            yield SampleIndex(index, (seed, epoch, index))
