# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""mmengine's optimizer wrapper, with clipping inside the step."""

from typing import Any

import torch
from mmengine.optim import OptimWrapper as MMEngineOptimWrapper
from torch import Tensor

from mmcae.registry import OPTIM_WRAPPERS

from ..deferred_scalars import DeferredScalars
from .clip import clip_in_step, is_fused, unclip


class ClipInStep:
    """Mixin of optimizer wrappers that clips with `clip_in_step`.

    With an optimizer that is not fused, or with a loss scaler, gradients are
    clipped before the step, as mmengine does it.
    """

    #: Set by `RuntimeInfoHook`; keeps the norm without reading it.
    deferred_scalars: DeferredScalars | None = None

    @property
    def skips_broken_steps(self: Any) -> bool:
        """Whether steps with gradients that are not finite are skipped."""
        return self._scales_loss() or (
            self._clips_norm() and is_fused(self.optimizer)
        )

    def _scales_loss(self: Any) -> bool:
        scaler = getattr(self, 'loss_scaler', None)
        return scaler is not None and scaler.is_enabled()

    def _clips_norm(self: Any) -> bool:
        settings = self.clip_grad_kwargs
        if not settings or not set(settings) <= {'max_norm', 'norm_type'}:
            return False
        return self.clip_func is torch.nn.utils.clip_grad_norm_

    def _clip_grad(self: Any) -> None:
        norm: Tensor | None = None
        if self._clips_norm() and not self._scales_loss():
            norm = clip_in_step(self.optimizer, **self.clip_grad_kwargs)
        if norm is None:
            groups = self.optimizer.param_groups
            params = [p for group in groups for p in group['params']]
            params = [p for p in params if p.grad is not None]
            if params:
                norm = self.clip_func(params, **self.clip_grad_kwargs)
        if norm is None:  # no gradients, or `clip_func` returns no norm
            return
        key = f'train/{self.grad_name}'
        if self.deferred_scalars is None:
            self.message_hub.update_scalar(key, float(norm))
        else:
            self.deferred_scalars.add(key, norm)

    # Compiling would gain nothing, because the optimizer is fused already. It
    # fails where parameter groups are a ConfigDict of mmengine, and is
    # repeated at every step.
    @torch.compiler.disable
    def step(self, **kwargs: Any) -> None:
        """Clip the gradients and take a step."""
        try:
            super().step(**kwargs)  # type: ignore[misc]
        finally:
            unclip(self.optimizer)  # type: ignore[attr-defined]


@OPTIM_WRAPPERS.register_module()
class OptimWrapper(ClipInStep, MMEngineOptimWrapper):
    """mmengine's ``OptimWrapper`` with `ClipInStep`."""
