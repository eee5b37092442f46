# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The step of mmcae's CAE."""

import copy
from typing import Any

import torch
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from mmcae.models.layers import PatchSplit, split_patches
from mmcae.models.selfsup.health import latent_health
from mmcae.models.selfsup.tokens import masked_tokens

from .batches import Batch
from .implementation import (
    PRECISIONS,
    MMEngineImplementation,
    Part,
    leaf,
)
from .sizes import Size


class Ours(MMEngineImplementation):
    """mmcae's CAE with the optimizer of its recipe.

    Args:
        size: Size of the model.
        precision: See `Implementation`.
        device: See `Implementation`.
        stored: Whether samples have tokens, as those of a token store do.
        with_cp: Whether to use activation checkpointing: a block keeps its
            input only and is computed again in the backward pass.
    """

    name = 'mmcae'

    def __init__(
        self,
        size: Size,
        precision: str,
        device: torch.device,
        stored: bool = False,
        with_cp: bool = False,
    ) -> None:
        super().__init__(precision, device)
        self.stored = stored
        wrapper = copy.deepcopy(size.optim_wrapper)
        if precision == 'fp32':
            wrapper.type = 'mmcae.OptimWrapper'
            wrapper.pop('loss_scale', None)
            wrapper.pop('dtype', None)
        else:
            wrapper.type = 'mmcae.AmpOptimWrapper'
            wrapper.dtype = PRECISIONS[precision]
        model = copy.deepcopy(size.model)
        model.backbone.with_cp = model.neck.with_cp = with_cp
        self.build(model, wrapper)

    def start_from(self, other: Any) -> None:
        """Copy the weights of another model of ours; share its tokenizer."""
        self.model.load_state_dict(other.state_dict())
        self.model.target_generator = other.target_generator

    def arguments(self, batch: Batch) -> dict[str, Any]:
        samples = [DataSample(mask=mask) for mask in batch.host_mask]
        views = batch.token_images
        if self.stored:
            views = views[:0]
            for sample, tokens in zip(samples, batch.tokens, strict=True):
                sample.set_field(tokens.numpy(), 'tokens')
        return dict(inputs=[batch.images, views], data_samples=samples)

    def parts(self, batch: Batch) -> list[Part]:
        model: Any = self.model
        neck, grid = model.neck, model.backbone.grid(batch.images)
        split = split_patches(batch.mask, grid[0] * grid[1])
        arguments = self.arguments(batch)
        views, samples = arguments['inputs'][1], arguments['data_samples']

        def tokenize() -> Tensor:
            return masked_tokens(model.target_generator, views, split, samples)

        # Inputs of the components, as a step would compute them.
        with torch.no_grad(), self.autocast():
            patches = model.backbone.embed(batch.images)
            visible = model.backbone.encode(patches, split)[:, 1:]
            latent = neck.regress(visible, split, grid)
            target = model.latent_target(batch.images, split, patches)
            logits = neck.decode(latent, split, grid)
            decoded = _decode(neck, latent, split, grid)
            tokens = tokenize()
        visible, latent, decoded = leaf(visible), leaf(latent), leaf(decoded)
        scores, predicted = leaf(logits), leaf(latent)

        def upkeep() -> None:
            model.refresh_teacher()
            with torch.no_grad():
                model.token_health(logits, tokens, split)
                latent_health(latent, target)

        return [
            Part('tokenizer', tokenize, backward=False),
            Part('encoder', lambda: model.backbone(batch.images, split)),
            Part(
                'target pass',
                lambda: model.latent_target(batch.images, split, patches),
                backward=False,
            ),
            Part('regressor', lambda: neck.regress(visible, split, grid)),
            Part('decoder', lambda: _decode(neck, latent, split, grid)),
            Part('head', lambda: neck.head(decoded)),
            Part(
                'losses',
                lambda: model.head.loss(scores, tokens, predicted, target)[
                    'loss'
                ],
            ),
            Part('upkeep', upkeep, backward=False),
            *self.optimizer_parts(),
        ]


def _decode(
    neck: Any, latent: Tensor, split: PatchSplit, grid: tuple[int, int]
) -> Tensor:
    """Run the decoder without the head that follows it."""
    head, neck.head = neck.head, nn.Identity()
    try:
        return neck.decode(latent, split, grid)
    finally:
        neck.head = head
