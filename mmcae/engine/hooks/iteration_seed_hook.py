# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Makes the random draws of an iteration follow its number."""

from typing import Any

import numpy as np
from mmengine.hooks import Hook
from mmengine.runner import set_random_seed

from mmcae.registry import HOOKS


@HOOKS.register_module()
class IterationSeedHook(Hook):
    """Seed the global generators from (run seed, iteration).

    What is drawn in the main process (mixup, cutmix, drop path) is then the
    same in a run that was interrupted and resumed. With
    ``randomness.diff_rank_seed=True`` the run seed, and so the draws, differ
    between processes.
    """

    # before hooks that may draw
    priority = 'VERY_HIGH'

    def before_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None
    ) -> None:
        """Seed for the iteration that begins."""
        sequence = np.random.SeedSequence((runner.seed, runner.iter))
        set_random_seed(int(sequence.generate_state(1)[0]))
