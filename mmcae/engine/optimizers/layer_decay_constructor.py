# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Layer-wise learning-rate decay with few parameter groups."""

from collections.abc import Callable
from functools import partial
from typing import Any

from mmengine.logging import print_log
from mmpretrain.engine.optimizers import (
    LearningRateDecayOptimWrapperConstructor,
)
from torch import nn

from mmcae.registry import OPTIM_WRAPPER_CONSTRUCTORS

from .merged_constructor import merge_groups


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(
    LearningRateDecayOptimWrapperConstructor
):
    """mmpretrain's layer-wise decay, with equal groups merged.

    The learning rate of a tensor is scaled by ``layer_decay_rate`` to the
    power of the number of layers above its own. mmpretrain makes one group for
    each tensor (about 220 for a base-size encoder). This constructor makes two
    groups for each depth, one with weight decay and one without. It leaves
    frozen tensors out.

    Models of mmsegmentation and mmdetection have no ``get_layer_depth``. The
    constructor then asks their ``backbone``, and trains all other modules
    (necks, heads) with the full learning rate.

    Args:
        optim_wrapper_cfg: Config of the optimizer wrapper.
        paramwise_cfg: mmpretrain's rules: ``layer_decay_rate`` and the
            multipliers of the weight decay.
    """

    def add_params(
        self,
        params: list[dict],
        module: nn.Module,
        prefix: str = '',
        get_layer_depth: Callable | None = None,
        **kwargs: Any,
    ) -> None:
        """Add a module's parameters; the root call merges the groups."""
        if get_layer_depth is None and not hasattr(module, 'get_layer_depth'):
            # Segmentors and detectors lack it, but their encoder has it.
            encoder: Any = getattr(module, 'backbone', None)
            if hasattr(encoder, 'get_layer_depth'):
                get_layer_depth = partial(
                    encoder.get_layer_depth, prefix='backbone.'
                )
        super().add_params(
            params,
            module,
            prefix=prefix,
            get_layer_depth=get_layer_depth,
            **kwargs,
        )
        if prefix:
            return
        for group in params:
            group.pop('param_name')
        params[:] = merge_groups(params)
        for group in params:
            size = sum(p.numel() for p in group['params'])
            print_log(
                f'Optimizer group: layer {group["layer_id"]}, '
                f'lr scale {group["lr_scale"]:.4g}, '
                f'weight decay {group.get("weight_decay")}, '
                f'{len(group["params"])} tensors, {size:,} parameters',
                logger='current',
            )
