# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""A sampler for epoch loops that gives every sample its identity."""

from collections.abc import Iterator

from mmengine.dataset import DefaultSampler

from mmcae.datasets.sample_seed import SampleIndex, check_view_pool
from mmcae.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class SeededSampler(DefaultSampler):
    """mmengine's ``DefaultSampler`` that yields :class:`SampleIndex`.

    It gives each process the same indices in the same order as
    ``DefaultSampler``. Each index also carries ``(seed, epoch, index)``, which
    seeds the random draws of mmcae's transforms.

    Args:
        dataset: The dataset, or anything with a length.
        shuffle: Whether to draw a new permutation in each epoch.
        seed: The run's seed, equal on all processes. mmengine's Runner
            passes its own seed, or None with ``diff_rank_seed=True``. In that
            case the first process draws a seed for all of them.
        round_up: Whether to repeat samples until all processes get the same
            number. A repeated sample has the same identity, and so the same
            pixels.
        view_pool: Number of views (crop and flip) of each image. The epochs
            use them in turn; masks still differ in every epoch. 0, the
            default, means a new view in each epoch.

    Raises:
        ValueError: If ``view_pool`` is negative.
    """

    def __init__(
        self, dataset, shuffle=True, seed=None, round_up=True, view_pool=0
    ) -> None:
        self.view_pool = check_view_pool(view_pool)
        super().__init__(dataset, shuffle, seed, round_up)

    def __iter__(self) -> Iterator[int]:
        """Yield this process's indices for the current epoch."""
        seed, epoch = self.seed, self.epoch
        for index in super().__iter__():
            yield SampleIndex(index, (seed, epoch, index), self.view_pool)
