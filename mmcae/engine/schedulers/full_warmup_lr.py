# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Warm-up that reaches the peak at its end (MAE's probing protocol)."""

from typing import Any

from mmengine.optim import LinearLR

from mmcae.registry import PARAM_SCHEDULERS


@PARAM_SCHEDULERS.register_module()
class FullWarmupLR(LinearLR):
    """mmengine's ``LinearLR`` that reaches the peak at step ``end``.

    With ``begin`` and ``start_factor`` zero, the learning rate at step ``i``
    is ``i / end`` of the peak. mmengine's ``LinearLR`` reaches the peak one
    step earlier, at ``end - 1``, and so does the authors' pretraining. The
    difference matters if an epoch has few steps. The next schedule must begin
    at ``end``.

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
