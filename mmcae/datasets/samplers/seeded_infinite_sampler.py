# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""A sampler for iteration loops that gives every sample its identity."""

import itertools
from collections.abc import Iterator

import torch
from mmengine.dataset import InfiniteSampler

from mmcae.datasets.sample_seed import SampleIndex, check_view_pool
from mmcae.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class SeededInfiniteSampler(InfiniteSampler):
    """mmengine's ``InfiniteSampler`` that yields :class:`SampleIndex`.

    It gives each process the same endless stream of indices as
    ``InfiniteSampler``. The epoch in an identity counts the passes over the
    data. Skipping samples costs one permutation per skipped pass.

    Args:
        dataset: The dataset, or anything with a length.
        shuffle: Whether to draw a new permutation in each pass.
        seed: The run's seed, equal on all processes (see
            :class:`SeededSampler`).
        view_pool: Number of views of each image (see
            :class:`SeededSampler`).

    Raises:
        ValueError: If the dataset is empty (the sampler would then search
            for an index forever), or ``view_pool`` is negative.
    """

    def __init__(self, dataset, shuffle=True, seed=None, view_pool=0) -> None:
        self.view_pool = check_view_pool(view_pool)
        if len(dataset) == 0:
            raise ValueError('cannot sample from an empty dataset')
        super().__init__(dataset, shuffle=shuffle, seed=seed)

    def _indices_of_rank(self, num_skipped: int = 0) -> Iterator[int]:
        generator = torch.Generator()
        generator.manual_seed(self.seed)
        # The position in the stream that all processes share.
        position = self.rank + num_skipped * self.world_size
        for epoch in itertools.count():
            if self.shuffle:
                order = torch.randperm(self.size, generator=generator)
            else:
                order = torch.arange(self.size)
            own = order[position :: self.world_size].tolist()
            position += len(own) * self.world_size - self.size
            for index in own:
                identity = (self.seed, epoch, index)
                yield SampleIndex(index, identity, self.view_pool)

    def skip(self, num_samples: int) -> None:
        """Continue as if this process had already used some samples.

        Args:
            num_samples: How many, counted from the start of the run.

        Raises:
            ValueError: If ``num_samples`` is negative.
        """
        if num_samples < 0:
            raise ValueError(
                f'num_samples must not be negative, got {num_samples}'
            )
        self.indices = self._indices_of_rank(num_samples)
