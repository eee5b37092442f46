# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Context Autoencoder for self-supervised representation learning.

Paper: arXiv 2202.03026. `CAE.loss` follows the paper's figure step by step.
"""

import copy
from typing import Any

import torch
from mmpretrain.models.selfsup.base import BaseSelfSupervisor
from mmpretrain.registry import MODELS as MMPRETRAIN_MODELS
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from mmcae.registry import MODELS

from ..backbones.cae_vit import PatchEmbedding
from ..layers import PatchSplit, split_patches
from ..target_generators.common import load_packaged
from .health import TokenHealth, latent_health
from .tokens import TokenListener, check_pixel_norm, masked_tokens

TARGET_ENCODERS = ('shared', 'copy')


@MODELS.register_module()
class CAE(BaseSelfSupervisor):
    """Encode visible patches; predict latents and tokens of masked ones.

    Args:
        backbone: Config of the encoder, `CAEPretrainViT`.
        neck: Config of regressor and decoder, `CAENeck`. Its
            ``in_channels`` defaults to the width of the encoder.
        head: Config of the head, `CAEHead`.
        target_generator: Config of the tokenizer: a module with
            ``tokenize(images) -> (B, L)``, or one that returns logits
            ``(B, K, h, w)``. It is frozen and stays in evaluation mode;
            neither the optimizer nor checkpoints contain it.
        target_encoder: The encoder that computes the alignment targets.
            ``'shared'``: the encoder itself without gradient, as the paper
            defines it. ``'copy'``: a second encoder, ``teacher``, which is
            updated after it has computed the targets, as in the authors'
            released code.
        base_momentum: Share of its own weights that the teacher keeps at
            each update. With 0, the teacher is the encoder of the previous
            step.
        data_preprocessor: Config of the data preprocessor. Defaults to
            mmpretrain's ``SelfSupDataPreprocessor``.
        init_cfg: Initialization config of mmengine. Defaults to None.

    Raises:
        ValueError: If arguments contradict each other. The message names
            them.
    """

    def __init__(
        self,
        backbone: dict,
        neck: dict,
        head: dict,
        target_generator: dict | None = None,
        target_encoder: str = 'shared',
        base_momentum: float = 0.0,
        data_preprocessor: dict | nn.Module | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        if target_encoder not in TARGET_ENCODERS:
            raise ValueError(
                f'target_encoder must be one of {TARGET_ENCODERS}, '
                f'got {target_encoder!r}'
            )
        if target_encoder == 'shared' and base_momentum:
            raise ValueError(
                f"base_momentum={base_momentum} needs target_encoder='copy'"
            )
        encoder = MMPRETRAIN_MODELS.build(backbone)
        super().__init__(
            backbone=encoder,
            neck={'in_channels': encoder.embed_dims, **neck},
            head=head,
            target_generator=target_generator,
            data_preprocessor=data_preprocessor
            or dict(type='mmpretrain.SelfSupDataPreprocessor'),
            init_cfg=init_cfg,
        )
        vocab_size = getattr(self.target_generator, 'vocab_size', None)
        if vocab_size is not None and vocab_size != self.neck.num_classes:
            raise ValueError(
                f'the tokenizer has {vocab_size} codes, but the neck predicts '
                f'num_classes={self.neck.num_classes}: make them equal'
            )
        self.target_encoder = target_encoder
        self.momentum = base_momentum
        if target_encoder == 'copy':
            self.teacher = copy.deepcopy(self.backbone).requires_grad_(False)
        if self.target_generator is not None:
            check_pixel_norm(self.target_generator, self.data_preprocessor)
            self.target_generator.requires_grad_(False).eval()
        self._token_listeners: list[TokenListener] = []
        self.token_health = TokenHealth(self.neck.num_classes)
        self.register_state_dict_post_hook(_forget_tokenizer)
        self.register_load_state_dict_pre_hook(_fit_state_dict)
        self.register_load_state_dict_post_hook(_excuse_tokenizer)

    def init_weights(self) -> None:
        """Initialize the weights; copy the encoder's to the teacher."""
        super().init_weights()
        if self.target_encoder == 'copy':
            self.teacher.load_state_dict(self.backbone.state_dict())

    def train(self, mode: bool = True) -> 'CAE':
        """Set the training mode; the tokenizer stays in evaluation mode."""
        super().train(mode)
        if self.target_generator is not None:
            self.target_generator.eval()
        return self

    def add_token_listener(self, listener: TokenListener) -> None:
        """Have a function called with the tokens that `loss` computes.

        The tokenizer then computes the tokens of all patches, not only those
        of masked patches.

        Args:
            listener: Called once for each batch that had tokens to compute,
                with the samples, B' of them, and their tokens ``(B', L)``.
                Adding it twice has no further effect.
        """
        if listener not in self._token_listeners:
            self._token_listeners.append(listener)

    def remove_token_listener(self, listener: TokenListener) -> None:
        """Stop calling a function that `add_token_listener` added."""
        if listener in self._token_listeners:
            self._token_listeners.remove(listener)

    def defer_loss_check(self) -> None:
        """Do nothing: `mmcae.NonFiniteHook` checks the losses of all models.

        Scripts for mmcae 0.1 call this; it will go with mmcae 0.2.
        """

    def extract_feat(self, inputs: Tensor | list[Tensor]) -> Any:
        """Encode whole images ``(B, 3, H, W)``; see `CAEViT.forward`."""
        images = inputs[0] if isinstance(inputs, list | tuple) else inputs
        return self.backbone(images, mask=None)

    def loss(
        self, inputs: list[Tensor], data_samples: list[DataSample], **_: Any
    ) -> dict[str, Tensor]:
        """Compute the losses of one batch.

        Args:
            inputs: Images for the encoder, ``(B, 3, H, W)``, and the same
                crops for the tokenizer, ``(B', 3, H', W')``. Samples with
                stored tokens have no image for the tokenizer.
            data_samples: Samples with ``mask`` ``(h, w)`` or ``(L,)``, which
                is true where a patch is masked, and optionally with stored
                ``tokens`` ``(L,)``.

        Returns:
            ``loss`` and its terms ``main`` and ``align``, and five metrics
            that are not part of the loss: ``acc``, ``acc_position``,
            ``perplexity``, ``cosine`` and ``latent_std``.

        Raises:
            ValueError: If samples have different numbers of masked patches, or
                mask, image and tokenizer do not have the same grid.
        """
        images, token_images = inputs
        grid = self.backbone.grid(images)
        mask = torch.stack([sample.mask for sample in data_samples])
        split = split_patches(mask, grid[0] * grid[1]).to(images.device)

        tokens = masked_tokens(
            self.target_generator,
            token_images,
            split,
            data_samples,
            self._token_listeners,
        )
        patches = self.backbone.embed(images)
        visible = self.backbone.encode(patches, split)[:, 1:]
        latent_pred = self.neck.regress(visible, split, grid)
        latent_target = self.latent_target(images, split, patches)
        logits = self.neck.decode(latent_pred, split, grid)

        self.refresh_teacher()
        losses = self.head.loss(logits, tokens, latent_pred, latent_target)
        health = self.token_health(logits, tokens, split)
        with torch.no_grad():
            health.update(latent_health(latent_pred, latent_target))
        return {**losses, **health}

    @torch.no_grad()
    def latent_target(
        self,
        images: Tensor,
        mask: Tensor | PatchSplit,
        patches: PatchEmbedding | None = None,
    ) -> Tensor:
        """Encode the masked patches, Zbar_m = F(X_m), without gradient.

        Drop path stays active in training, as in the authors' code.

        Args:
            images: ``(B, 3, H, W)``.
            mask: ``True`` where a patch is masked, ``(B, L)``, or the result
                of `split_patches`.
            patches: The result of the encoder's ``embed`` for the images. If
                given, a shared encoder does not compute it again.

        Returns:
            Latents of the masked patches, ``(B, M, D)``, where ``D`` is the
            width of the neck.
        """
        shared = self.target_encoder == 'shared'
        encoder = self.backbone if shared else self.teacher
        if patches is None or not shared:
            patches = encoder.embed(images)
        masked = split_patches(mask, patches.tokens.shape[1]).inverse
        return self.neck.project(encoder.encode(patches, masked)[:, 1:])

    @torch.no_grad()
    def refresh_teacher(self) -> None:
        """Update the teacher from the encoder, if there is a teacher."""
        if self.target_encoder == 'shared' or not self.training:
            return
        pairs = zip(
            self.teacher.parameters(), self.backbone.parameters(), strict=True
        )
        for teacher, encoder in pairs:
            teacher.lerp_(encoder.to(teacher), 1.0 - self.momentum)


def _forget_tokenizer(
    module: CAE, state_dict: dict, prefix: str, _: dict
) -> None:
    """Leave the frozen tokenizer out of checkpoints."""
    for key in [k for k in state_dict if k.startswith(_tokenizer(prefix))]:
        del state_dict[key]


def _fit_state_dict(
    module: CAE, state_dict: dict, prefix: str, *_: Any
) -> None:
    """Fit a checkpoint to the parts that the model has.

    The weights of a tokenizer are dropped, because it loads its own file. The
    weights of a teacher are dropped if the target encoder is shared. If the
    model has a teacher and the checkpoint has none, the teacher gets the
    weights of the encoder.
    """
    teacher, encoder = prefix + 'teacher.', prefix + 'backbone.'
    dropped = [_tokenizer(prefix)]
    if module.target_encoder == 'shared':
        dropped.append(teacher)
    elif not any(key.startswith(teacher) for key in state_dict):
        for key in [k for k in state_dict if k.startswith(encoder)]:
            state_dict[teacher + key[len(encoder) :]] = state_dict[key]
    for key in [k for k in state_dict if k.startswith(tuple(dropped))]:
        del state_dict[key]


def _excuse_tokenizer(module: CAE, incompatible: Any) -> None:
    """Do not report the weights of the tokenizer as missing.

    A tokenizer of the package is loaded now: its file is always there.
    """
    missing = incompatible.missing_keys
    missing[:] = [k for k in missing if 'target_generator.' not in k]
    load_packaged(module.target_generator)


def _tokenizer(prefix: str) -> str:
    return prefix + 'target_generator.'
