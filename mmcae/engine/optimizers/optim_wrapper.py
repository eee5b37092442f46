# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""mmengine's optimizer wrapper with clipping inside the step."""

from typing import Any

import torch
from mmengine.optim import OptimWrapper as MMEngineOptimWrapper

from mmcae.registry import OPTIM_WRAPPERS

from .clip import clip_in_step, unclip


class ClipInStep:
    """Mixin of optimizer wrappers: see `clip_in_step`.

    Other optimizers than fused ones, and GPUs, clip as in mmengine.
    """

    def _clip_grad(self: Any) -> None:
        norm = None
        settings = self.clip_grad_kwargs
        known = set(settings) <= {'max_norm', 'norm_type'}
        if self.clip_func is torch.nn.utils.clip_grad_norm_ and known:
            norm = clip_in_step(self.optimizer, **settings)
        if norm is None:
            super()._clip_grad()  # type: ignore[misc]
        else:
            self.message_hub.update_scalar('train/grad_norm', float(norm))

    def step(self, **kwargs: Any) -> None:
        """Clip the gradients and take a step."""
        try:
            super().step(**kwargs)  # type: ignore[misc]
        finally:
            unclip(self.optimizer)  # type: ignore[attr-defined]


@OPTIM_WRAPPERS.register_module()
class OptimWrapper(ClipInStep, MMEngineOptimWrapper):
    """mmengine's ``OptimWrapper`` with `ClipInStep`."""
