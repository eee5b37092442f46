# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Seeds the random generators before each iteration."""

from typing import Any

import numpy as np
from mmengine.hooks import Hook
from mmengine.runner import set_random_seed

from mmcae.registry import HOOKS


@HOOKS.register_module()
class IterationSeedHook(Hook):
    """Seed the global generators from the run's seed and the iteration.

    A run that was interrupted and resumed then draws the same random numbers
    in the main process (for mixup, cutmix and drop path) as one that was not.
    With ``randomness.diff_rank_seed=True`` each process has its own seed, and
    so its own random numbers.
    """

    # Other hooks may draw random numbers, so this one runs before them.
    priority = 'VERY_HIGH'

    def before_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None
    ) -> None:
        """Seed the generators for the next iteration."""
        sequence = np.random.SeedSequence((runner.seed, runner.iter))
        set_random_seed(int(sequence.generate_state(1)[0]))
