# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The learning rates of a sweep's classifiers."""

from typing import Any

from mmengine.optim import OptimWrapper
from torch import nn

from mmcae.checkpoint.unwrap import unwrap
from mmcae.registry import OPTIM_WRAPPER_CONSTRUCTORS

from .merged_constructor import MergedOptimWrapperConstructor


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class SweepOptimWrapperConstructor(MergedOptimWrapperConstructor):
    """One parameter group for each classifier of a `SweepLinearHead`.

    The learning rates are ``model.head.lrs``. The optimizer's config must not
    have one.

    Args:
        optim_wrapper_cfg: Config of the optimizer wrapper.
        paramwise_cfg: mmengine's rules for other parameters.

    Raises:
        ValueError: If the optimizer's config has a learning rate.
    """

    def __init__(
        self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None
    ) -> None:
        super().__init__(optim_wrapper_cfg, paramwise_cfg)
        if self.base_lr is not None:
            raise ValueError(
                f'optim_wrapper.optimizer.lr={self.base_lr}: a sweep takes '
                'its learning rates from model.head.lrs; change those'
            )

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the optimizer wrapper.

        Args:
            model: A model whose ``head`` is a `SweepLinearHead`.

        Raises:
            TypeError: If it has another head.
        """
        head: Any = getattr(unwrap(model), 'head', None)
        if not hasattr(head, 'lrs'):
            raise TypeError(
                'SweepOptimWrapperConstructor needs a model with '
                "head.type='mmcae.SweepLinearHead', the head is "
                f'{type(head).__name__}'
            )
        rules = {
            f'head.fcs.{head.key(name)}.': dict(lr=lr)
            for name, lr in zip(head.names, head.lrs, strict=True)
        }
        custom = {**self.paramwise_cfg.get('custom_keys', {}), **rules}
        self.paramwise_cfg: dict = {
            **self.paramwise_cfg,
            'custom_keys': custom,
        }
        # mmengine needs a learning rate for parameters outside of the head.
        self.base_lr = self.optimizer_cfg['lr'] = max(head.lrs)
        return super().__call__(model)
