# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The step of the authors' code, measured with a clone of their repository.

Written for ``lxtGH/CAE``. Neither that repository nor any of its code is part
of this package.
"""

import importlib
import math
import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmcae.checkpoint.official import to_official

from .batches import Batch
from .implementation import Implementation, Part, leaf
from .sizes import Size
from .stand_ins import stand_ins

_CLASS = 'VisionTransformerForMaskedImageModeling'


class Official(Implementation):
    """The authors' model, trained as their engine trains it.

    Their tokenizer is OpenAI's and runs without gradients and outside
    autocast. Here mmpretrain's tokenizer, which has the same layers, runs in
    the same way.

    Args:
        repository: Folder that has the authors' ``models/modeling_cae.py``.
        size: Size of the model.
        precision: See `Implementation`.
        device: See `Implementation`.
        weights: A `CAE` of ours whose weights are copied; ``None``: random
            weights.
        tokenizer: Returns logits ``(B, K, h, w)``.
    """

    name = 'official'

    def __init__(
        self,
        repository: Path,
        size: Size,
        precision: str,
        device: torch.device,
        weights: nn.Module | None,
        tokenizer: nn.Module,
    ) -> None:
        super().__init__(precision, device)
        self.tokenizer = tokenizer.eval()
        self.align_weight = size.model.head.loss.lambd
        cae = _import(repository)
        arch, neck = size.arch, size.model.neck
        flags = Namespace(
            decoder_num_classes=neck.num_classes,
            decoder_embed_dim=neck.embed_dims,
            decoder_num_heads=neck.num_heads,
            decoder_depth=neck.decoder_depth,
            regressor_depth=neck.regressor_depth,
            decoder_layer_scale_init_value=neck.layer_scale_init_value,
            fix_init_weight=False,
            base_momentum=0,
        )
        self.model = cae(
            img_size=size.image_size,
            patch_size=size.model.backbone.patch_size,
            vocab_size=neck.num_classes,
            embed_dim=arch['embed_dims'],
            depth=arch['num_layers'],
            num_heads=arch['num_heads'],
            mlp_ratio=arch['feedforward_channels'] / arch['embed_dims'],
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            init_values=size.model.backbone.layer_scale_init_value,
            args=flags,
        )
        if weights is not None:
            _start_from(self.model, weights)
        self.model.to(device).train()
        self.optimizer = torch.optim.AdamW(
            _groups(self.model), lr=1.5e-3, betas=(0.9, 0.999)
        )
        scaled = device.type == 'cuda' and precision == 'fp16'
        self.scaler = torch.amp.GradScaler(device.type, enabled=scaled)

    def loss(self, batch: Batch) -> Tensor:
        labels = self._labels(batch)
        with self.autocast(), _cuda_means(self.device):
            logits, latent, target = self.model(
                batch.images, bool_masked_pos=batch.mask
            )
            return self._compare(logits, labels, latent, target)

    def step(self, batch: Batch) -> None:
        loss = self.loss(batch)
        if not math.isfinite(loss.item()):
            raise FloatingPointError(f'the loss is {loss.item()}')
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        self._clip()
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def parts(self, batch: Batch) -> list[Part]:
        model: Any = self.model
        neck, mask = model.pretext_neck, batch.mask
        table = model.encoder.pos_embed[:, 1:].expand(len(batch), -1, -1)
        split = len(batch), -1, table.shape[-1]
        visible_pos = table[~mask].view(split)
        masked_pos = table[mask].view(split)
        all_pos = torch.cat([visible_pos, masked_pos], dim=1)

        def regress(visible: Tensor) -> Tensor:
            x = model.mask_token.expand(len(batch), masked_pos.shape[1], -1)
            for block in neck.regressor_blocks:
                context = torch.cat([visible, x], dim=1)
                x = block(x, context, masked_pos, all_pos, mask)
            return neck.norm(x)

        def decode(latent: Tensor) -> Tensor:
            x = latent + masked_pos
            for block in neck.decoder_blocks:
                x = block(x)
            return neck.norm2(x)

        def target_pass() -> Tensor:
            with torch.no_grad():
                return model.teacher(batch.images, bool_masked_pos=~mask)[
                    :, 1:
                ]

        def encode() -> Tensor:
            return model.encoder(batch.images, bool_masked_pos=mask)

        # Inputs of the components, as a step would compute them.
        with torch.no_grad(), self.autocast():
            visible = leaf(encode()[:, 1:])
            latent = leaf(regress(visible))
            target = target_pass()
            decoded = leaf(decode(latent))
            scores = leaf(neck.head(decoded))
            labels = self._labels(batch)
        predicted = leaf(latent)
        return [
            Part('tokenizer', lambda: self._labels(batch), backward=False),
            Part('encoder', encode),
            Part('target pass', target_pass, backward=False),
            Part('regressor', lambda: regress(visible)),
            Part('decoder', lambda: decode(latent)),
            Part('head', lambda: neck.head(decoded)),
            Part(
                'losses',
                lambda: self._compare(scores, labels, predicted, target),
            ),
            Part('upkeep', lambda: model.momentum_update(0), backward=False),
            Part('clip', self._clip, backward=False),
            Part('optimizer', self.optimizer.step, backward=False),
        ]

    def _labels(self, batch: Batch) -> Tensor:
        off = torch.autocast(self.device.type, enabled=False)
        with torch.no_grad(), off:
            logits = self.tokenizer(batch.token_images)
            return logits.argmax(dim=1).flatten(1)[batch.mask]

    def _compare(
        self, logits: Tensor, labels: Tensor, latent: Tensor, target: Tensor
    ) -> Tensor:
        main = F.cross_entropy(logits.flatten(0, -2).float(), labels)
        align = F.mse_loss(latent.float(), target.detach().float())
        return main + self.align_weight * align

    def _clip(self) -> Tensor:
        return nn.utils.clip_grad_norm_(self.model.parameters(), 3.0)


def _import(repository: Path) -> Any:
    """Import the authors' class.

    Raises:
        FileNotFoundError: If the folder is no clone of their repository.
    """
    file = repository / 'models/modeling_cae.py'
    if not file.is_file():
        raise FileNotFoundError(
            f"there is no {file}: --official takes a clone of the authors' "
            'repository, github.com/lxtGH/CAE'
        )
    sys.path.insert(0, str(repository))
    try:
        with stand_ins():
            module = importlib.import_module('models.modeling_cae')
        return getattr(module, _CLASS)
    finally:
        sys.path.remove(str(repository))


@contextmanager
def _cuda_means(device: torch.device) -> Iterator[None]:
    """On a CPU, let ``tensor.cuda(...)`` return the tensor as it is.

    The authors' forward pass moves its position table in this way.
    """
    if device.type == 'cuda':
        yield
        return
    with mock.patch.object(torch.Tensor, 'cuda', lambda self, *_, **__: self):
        yield


def _start_from(model: Any, ours: nn.Module) -> None:
    """Copy our weights into the authors' model."""
    state = to_official(ours.state_dict())
    missing, unexpected = model.load_state_dict(state, strict=False)
    unknown = [key for key in missing if not key.startswith('teacher.')]
    if unknown or unexpected:
        raise ValueError(
            "this version of the authors' code has other tensors: missing "
            f'{unknown[:5]}, unexpected {unexpected[:5]}'
        )
    model.teacher.load_state_dict(model.encoder.state_dict())


def _groups(model: nn.Module) -> list[dict]:
    """The authors' two groups of parameters.

    Vectors and biases have no weight decay.
    """
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    decayed, others = [], []
    for name, parameter in named:
        plain = parameter.ndim == 1 or name.endswith('.bias')
        (others if plain else decayed).append(parameter)
    return [
        dict(params=decayed, weight_decay=0.05),
        dict(params=others, weight_decay=0.0),
    ]
