# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""A warm-up that lasts as long as it says (MAE's protocol of probing)."""

from typing import Any

from mmengine.optim import LinearLR

from mmcae.registry import PARAM_SCHEDULERS


@PARAM_SCHEDULERS.register_module()
class FullWarmupLR(LinearLR):
    """mmengine's ``LinearLR`` that reaches the peak at step ``end``.

    At step ``i`` the learning rate is ``i / end`` of the peak (for ``begin``
    and ``start_factor`` zero). mmengine's own reaches the peak one step
    earlier, at ``end - 1``, as the authors' pretraining does; in short
    epochs the two differ visibly. A schedule that follows begins at ``end``.

    Args:
        optimizer: The optimizer or its wrapper.
        *args: As for ``LinearLR``.
        end: First step after the warm-up.
        **kwargs: As for ``LinearLR``.
    """

    def __init__(
        self, optimizer: Any, *args: Any, end: int, **kwargs: Any
    ) -> None:
        super().__init__(optimizer, *args, end=end + 1, **kwargs)
