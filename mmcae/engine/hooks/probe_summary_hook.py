# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Logs what a probe measures, before its first iteration."""

import logging
from typing import Any

from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop
from torch import nn

from mmcae.checkpoint.unwrap import unwrap
from mmcae.registry import HOOKS

_FEATURES = dict(
    cls_token='the class token',
    raw='all tokens, class token first',
    avg_featmap='the mean of the patch tokens',
    featmap='the map of patch tokens',
)


def describe_feature(backbone: Any) -> str:
    """Describe which output of a ViT, such as `CAEViT`, a probe measures.

    Args:
        backbone: A ViT with ``out_type``, ``out_indices``, ``num_layers`` and
            ``final_norm``.

    Returns:
        The layer, the tokens and the norm in words.
    """
    layers = '?'
    last = False
    if hasattr(backbone, 'out_indices') and hasattr(backbone, 'num_layers'):
        indices = list(backbone.out_indices)
        layers = f'{indices[-1] + 1} of {backbone.num_layers}'
        last = indices[-1] + 1 == backbone.num_layers
    out_type = str(getattr(backbone, 'out_type', '?'))
    feature = _FEATURES.get(out_type, out_type)
    normed = last and bool(getattr(backbone, 'final_norm', False))
    norm = 'after the final norm' if normed else 'without a final norm'
    return f'{feature} after block {layers}, {norm}'


@HOOKS.register_module()
class ProbeSummaryHook(Hook):
    """Log what a probe measures, and how it is trained.

    The line has the layer, the tokens, the head, the number of trainable
    parameters, the optimizer, the learning rate, the batch size of one
    optimizer step (over all processes and accumulated batches) and the number
    of epochs. If the encoder is not frozen, or not in evaluation mode, the
    hook logs a warning, because that would be fine-tuning.
    """

    priority = 'NORMAL'

    def __init__(self) -> None:
        self._done = False

    def before_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None
    ) -> None:
        """Log before the first iteration, when training modes are set."""
        if self._done:
            return
        self._done = True
        model = unwrap(runner.model)
        runner.logger.info(self.summary(runner, model))
        trained = [
            name
            for name, parameter in model.backbone.named_parameters()
            if parameter.requires_grad
        ]
        moving = [
            name or 'backbone'
            for name, module in model.backbone.named_modules()
            if module.training
            and isinstance(
                module, nn.Dropout | nn.modules.batchnorm._BatchNorm
            )
        ]
        if trained or moving:
            runner.logger.log(
                logging.WARNING,
                'This is no probe: in the encoder, '
                f'{len(trained)} tensors are trained and {len(moving)} '
                f'layers are in training mode (e.g. '
                f'{(trained + moving)[0]}); set backbone.frozen_stages to '
                'the number of blocks.',
            )

    @staticmethod
    def summary(runner: Any, model: Any) -> str:
        """Return one line with all settings that the accuracy depends on."""
        wrapper = runner.optim_wrapper
        # A sweep has several rates; `dict.fromkeys` keeps their order.
        rates = dict.fromkeys(
            f'{group.get("initial_lr", group["lr"]):g}'
            for group in wrapper.optimizer.param_groups
        )
        accumulation = getattr(wrapper, '_accumulative_counts', 1)
        size = runner.train_dataloader.batch_size
        world = get_world_size()
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        duration = f'{runner.max_iters} iterations'
        if isinstance(runner.train_loop, EpochBasedTrainLoop):
            duration = f'{runner.max_epochs} epochs = {duration}'
        return (
            f'Probe of {describe_feature(model.backbone)}: '
            f'{type(model.head).__name__}, {trained:,} trained parameters; '
            f'{type(wrapper.optimizer).__name__}, '
            f'peak learning rate{"s" if len(rates) > 1 else ""} '
            f'{", ".join(rates)}, '
            f'batch {size} x {world} processes x {accumulation} '
            f'accumulated = {size * world * accumulation}, '
            f'{duration}'
        )
