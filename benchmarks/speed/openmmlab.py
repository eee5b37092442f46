# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The step of mmpretrain's own CAE, with the values of its config."""

import copy
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from mmcae.config.search_path import find_config

from .batches import Batch
from .implementation import (
    PRECISIONS,
    MMEngineImplementation,
    Part,
    leaf,
)
from .sizes import Size

CONFIG = 'mmpretrain::cae/cae_beit-base-p16_8xb256-amp-coslr-300e_in1k.py'


class GivenTokens(nn.Module):
    """Replaces a tokenizer: returns logits whose argmax is given tokens."""

    logits: Tensor | None = None

    def give(self, tokens: Tensor, vocab_size: int) -> None:
        """Prepare logits ``(B, K, h, w)`` for tokens ``(B, L)``."""
        side = int(tokens.shape[1] ** 0.5)
        shape = len(tokens), vocab_size, tokens.shape[1]
        logits = torch.zeros(shape, device=tokens.device)
        logits.scatter_(1, tokens[:, None], 1.0)
        self.logits = logits.unflatten(2, (side, side))

    def forward(self, images: Tensor) -> Tensor:
        assert self.logits is not None, 'no tokens yet: call `give` first'
        return self.logits


class OpenMMLab(MMEngineImplementation):
    """mmpretrain's CAE with the optimizer of its config.

    Args:
        size: Size of the model. mmpretrain has a config of base size only,
            whose values are replaced for other sizes.
        precision: See `Implementation`.
        device: See `Implementation`.
        weights: A `CAE` of ours whose weights are copied, with those of the
            tokenizer; ``None``: random weights.
        given: Whether given tokens replace the tokenizer.
    """

    name = 'mmpretrain'

    def __init__(
        self,
        size: Size,
        precision: str,
        device: torch.device,
        weights: nn.Module | None = None,
        given: bool = False,
    ) -> None:
        super().__init__(precision, device)
        cfg = Config.fromfile(find_config(CONFIG))
        wrapper = cfg.optim_wrapper
        if precision == 'fp32':
            wrapper.type = 'OptimWrapper'
            wrapper.pop('loss_scale')
        else:
            # mmpretrain's config has mmengine's wrapper, which refuses CPUs.
            if device.type == 'cpu':
                wrapper.type = 'mmcae.AmpOptimWrapper'
            wrapper.dtype = PRECISIONS[precision]
        self.build(_scaled(cfg.model, size), wrapper)
        if weights is not None:
            _start_from(self.model, weights)
        self.vocab_size = size.model.neck.num_classes
        self.given = given
        if given:
            self.name = 'mmpretrain, tokens given'
            self.model.target_generator = GivenTokens()

    def arguments(self, batch: Batch) -> dict[str, Any]:
        if self.given:
            tokenizer: Any = self.model.target_generator
            logits = tokenizer.logits
            if logits is None or len(logits) != len(batch):
                tokens = batch.tokens.to(self.device)
                tokenizer.give(tokens, self.vocab_size)
        samples = [DataSample(mask=mask) for mask in batch.mask]
        inputs = [batch.images, batch.token_images]
        return dict(inputs=inputs, data_samples=samples)

    def parts(self, batch: Batch) -> list[Part]:
        model: Any = self.model
        neck, mask = model.neck, batch.mask
        self.arguments(batch)  # prepares the given tokens
        table = model.backbone.pos_embed[:, 1:].expand(len(batch), -1, -1)
        split = len(batch), -1, table.shape[-1]
        visible_pos = table[~mask].view(split)
        masked_pos = table[mask].view(split)
        all_pos = torch.cat([visible_pos, masked_pos], dim=1)

        def regress(visible: Tensor) -> Tensor:
            x = neck.mask_token.expand(len(batch), masked_pos.shape[1], -1)
            for block in neck.regressors:
                context = torch.cat([visible, x], dim=1)
                x = block(x, context, masked_pos, all_pos)
            return neck.norm_regressor(x)

        def decode(latent: Tensor) -> Tensor:
            x = latent + masked_pos
            for block in neck.decoders:
                x = block(x, rel_pos_bias=None)
            return neck.norm_decoder(x)

        def tokenize() -> Tensor:
            # As mmpretrain does it: with gradients and inside autocast.
            logits = model.target_generator(batch.token_images)
            return model.head._generate_target(logits)[mask]

        def target_pass() -> Tensor:
            with torch.no_grad():
                return model.teacher(batch.images, ~mask)[:, 1:]

        # Inputs of the components, as a step would compute them.
        with torch.no_grad(), self.autocast():
            visible = leaf(model.backbone(batch.images, mask)[:, 1:])
            latent = leaf(regress(visible))
            target = target_pass()
            decoded = leaf(decode(latent))
            scores = leaf(neck.head(decoded).flatten(0, 1))
            tokens = tokenize()
        predicted = leaf(latent)
        return [
            Part('tokenizer', tokenize, backward=False),
            Part('encoder', lambda: model.backbone(batch.images, mask)),
            Part('target pass', target_pass, backward=False),
            Part('regressor', lambda: regress(visible)),
            Part('decoder', lambda: decode(latent)),
            Part('head', lambda: neck.head(decoded)),
            Part(
                'losses',
                lambda: sum(
                    model.head.loss_module(scores, tokens, predicted, target)
                ),
            ),
            Part('upkeep', model.momentum_update, backward=False),
            *self.optimizer_parts(),
        ]


def _scaled(model: ConfigDict, size: Size) -> ConfigDict:
    """Give mmpretrain's config our size, with half of the patches masked."""
    ours = size.model
    model.backbone.update(
        arch=dict(size.arch),
        img_size=size.image_size,
        patch_size=ours.backbone.patch_size,
        layer_scale_init_value=ours.backbone.layer_scale_init_value,
    )
    for key in (
        'num_classes',
        'embed_dims',
        'num_heads',
        'regressor_depth',
        'decoder_depth',
        'layer_scale_init_value',
    ):
        model.neck[key] = ours.neck[key]
    model.neck.mask_tokens_num = size.num_masked
    model.head.loss.lambd = ours.head.loss.lambd
    if ours.target_generator.type == 'mmcae.DALLEEncoder':
        model.target_generator.pop('init_cfg')
    else:
        model.target_generator = copy.deepcopy(ours.target_generator)
    return model


def _start_from(model: Any, ours: Any) -> None:
    """Copy our weights, whose tensors have the same names."""
    state = ours.state_dict()
    missing, unexpected = model.load_state_dict(state, strict=False)
    others = ('teacher.', 'target_generator.', 'data_preprocessor.')
    unknown = [k for k in missing if not k.startswith(others)] + unexpected
    if unknown:
        raise ValueError(f'mmpretrain has other tensors: {unknown[:5]}')
    model.teacher.load_state_dict(model.backbone.state_dict())
    model.target_generator.load_state_dict(ours.target_generator.state_dict())
