# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""mmengine's optimizer wrapper, with steps that never break the weights."""

import math
from collections.abc import Callable
from typing import Any

import torch
from mmengine.optim import OptimWrapper as MMEngineOptimWrapper
from torch import Tensor

from mmcae.registry import OPTIM_WRAPPERS
from mmcae.utils.old_names import old_names

from ..deferred_scalars import DeferredScalars
from . import clip


class SafeStep:
    """Mixin of optimizer wrappers that skips steps that are not finite.

    A step whose gradients are not finite changes neither the weights nor the
    optimizer. A loss that is not finite makes the gradients NaN, so it has
    the same effect, and all processes of a distributed run, which share their
    gradients, agree. With accumulation, the step of the whole group is
    skipped. `NonFiniteHook` tells the user.

    On a GPU the host does not wait for the gradients: fused optimizers and
    `LARS` skip the step on the device, and so does a loss scaler. For other
    optimizers the host waits once a step.

    Gradients are clipped with `clip_in_step`. With an optimizer that is not
    fused, or with a loss scaler, they are clipped before the step, as
    mmengine does it.
    """

    #: Set by `RuntimeInfoHook`; keeps the norm without reading it.
    deferred_scalars: DeferredScalars | None = None
    #: Set by `NonFiniteHook`; called before each step.
    before_step: Callable[[], None] | None = None
    #: Norm of the gradients in the last step. With a loss scaler that does
    #: not clip, the gradients are the scaled ones.
    norm: Tensor | None = None
    #: Whether a fused optimizer scales the gradients while it steps.
    clips_in_step = True
    #: Steps with gradients that are not finite are skipped.
    skips_broken_steps = True

    def backward(self: Any, loss: Tensor, **kwargs: Any) -> None:
        """Compute the gradients; those of a broken loss are NaN.

        Without this, the gradient of a loss such as ``inf + x`` is finite.
        """
        finite = loss.detach().isfinite()
        kwargs.setdefault('gradient', torch.where(finite, 1.0, math.nan))
        super().backward(loss, **kwargs)  # type: ignore[misc]

    def current_scale(self: Any) -> Tensor | None:
        """Return the scale of a loss scaler without reading it, or None."""
        if not self._scales_loss():
            return None
        group = self.optimizer.param_groups[0]
        one = torch.ones((), device=group['params'][0].device)
        return self.loss_scaler.scale(one)

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
        in_step = self.clips_in_step and not self._scales_loss()
        if in_step and self._clips_norm():
            norm = clip.clip_in_step(self.optimizer, **self.clip_grad_kwargs)
        if norm is None:
            groups = self.optimizer.param_groups
            params = [p for group in groups for p in group['params']]
            params = [p for p in params if p.grad is not None]
            if params:
                norm = self.clip_func(params, **self.clip_grad_kwargs)
        if norm is None:  # no gradients, or `clip_func` returns no norm
            return
        self.norm = norm
        key = f'train/{self.grad_name}'
        if self.deferred_scalars is None:
            self.message_hub.update_scalar(key, float(norm))
        else:
            self.deferred_scalars.add(key, norm)

    # Compiling would gain nothing, because the optimizer is fused already. It
    # fails where parameter groups are a ConfigDict of mmengine, and is
    # repeated at every step.
    @torch.compiler.disable
    def step(self: Any, **kwargs: Any) -> None:
        """Clip the gradients and take a step, if they are finite."""
        if self.before_step is not None:
            self.before_step()
        self.norm = None
        if not self._clips_norm():
            # Clipping by value would turn infinite gradients into finite ones.
            self.norm = clip.gradient_norm(self.optimizer)
        try:
            if self._scales_loss():  # the scaler skips the step
                super().step(**kwargs)  # type: ignore[misc]
            else:
                self._step(**kwargs)
        finally:
            clip.unclip(self.optimizer)

    def _step(self: Any, **kwargs: Any) -> None:
        if self.clip_grad_kwargs:
            norm = self.norm
            self._clip_grad()
            self.norm = self.norm if norm is None else norm
        if self.norm is not None:
            free = clip.is_free_to_read(self.norm)
            if not free and clip.skips_on_device(self.optimizer):
                self.optimizer.found_inf = (~self.norm.isfinite()).float()
            elif not self.norm.isfinite():
                return
        self.optimizer.step(**kwargs)


@OPTIM_WRAPPERS.register_module()
class OptimWrapper(SafeStep, MMEngineOptimWrapper):
    """mmengine's ``OptimWrapper`` with `SafeStep`.

    Args:
        *args: As for mmengine's.
        clips_in_step: Whether a fused optimizer scales the gradients while
            it steps, which saves a pass over them. Without it, the rounding
            is that of mmengine's wrapper.
        **kwargs: As for mmengine's.
    """

    def __init__(
        self, *args: Any, clips_in_step: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.clips_in_step = clips_in_step


__getattr__ = old_names(__name__, {'ClipInStep': 'SafeStep'})
