# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Optimizers with few parameter groups and without frozen parameters."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mmengine.logging import MMLogger, print_log
from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn

from mmcae.registry import OPTIM_WRAPPER_CONSTRUCTORS


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep mmengine from printing a line for every tensor."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def merge_groups(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Join optimizer groups that have the same settings.

    Args:
        groups: Parameter groups as PyTorch's optimizers take them.

    Returns:
        One group for each combination of settings, in the order in which
        they first appear, without parameters that need no gradient.
    """
    merged: dict[tuple, dict[str, Any]] = {}
    for group in groups:
        settings = {k: v for k, v in group.items() if k != 'params'}
        params = [p for p in group['params'] if p.requires_grad]
        if params:
            key = tuple(sorted(settings.items()))
            merged.setdefault(key, {'params': [], **settings})
            merged[key]['params'] += params
    return list(merged.values())


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class MergedOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """mmengine's constructor; groups with equal settings are merged.

    mmengine makes one group for each tensor (410 for a base-size CAE), and
    fused optimizers and schedulers process the groups one by one. Parameters
    that need no gradient (position table, tokenizer, teacher) are left out of
    the optimizer.

    Args:
        optim_wrapper_cfg: Config of the optimizer wrapper.
        paramwise_cfg: mmengine's rules for single parameters.
    """

    def __init__(
        self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None
    ) -> None:
        # Without any rule, mmengine gives frozen parameters to the optimizer.
        rules = paramwise_cfg or dict(bypass_duplicate=False)
        super().__init__(optim_wrapper_cfg, rules)

    def add_params(
        self,
        params: list[dict],
        module: nn.Module,
        prefix: str = '',
        **kwargs: Any,
    ) -> None:
        """Add a module's parameters; the root call merges the groups."""
        if prefix:
            super().add_params(params, module, prefix=prefix, **kwargs)
            return
        with _quiet():
            super().add_params(params, module, **kwargs)
        params[:] = merge_groups(params)
        for group in params:
            size = sum(p.numel() for p in group['params'])
            settings = {
                'lr': self.base_lr,
                'weight_decay': self.base_wd,
                **{k: v for k, v in group.items() if k != 'params'},
            }
            print_log(
                f'Optimizer group: {len(group["params"])} tensors, '
                f'{size:,} parameters, {settings}',
                logger='current',
            )
