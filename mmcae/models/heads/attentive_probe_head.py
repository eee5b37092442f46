# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The attentive probe: one learned query attends to a frozen encoder.

Paper: Context Autoencoder, arXiv 2202.03026, section 4 (attentive probing).
"""

from typing import Any

import torch
from mmpretrain.models.heads import ClsHead
from torch import Tensor, nn

from mmcae.registry import MODELS

from ..layers import NORM_CFG, CrossAttention, norm_layer, trunc_normal_


@MODELS.register_module()
class AttentiveProbeHead(ClsHead):
    """A query token, one cross-attention, BatchNorm, a linear classifier.

    Its input is the whole normalized sequence of an encoder:
    ``mmcae.CAEViT(out_type='raw', final_norm=True, use_rel_pos_bias=False)``.
    Query, key and value each have a LayerNorm; no position is added, and
    there is neither a residual nor a feed-forward network. BatchNorm has no
    learned parameters; in evaluation it uses its running statistics (the
    authors' code uses those of the validation batch).

    Args:
        num_classes: Number of classes.
        in_channels: Width ``D`` of the encoder.
        num_heads: Number of attention heads, that of the encoder.
        norm_cfg: Normalization of query, key and value. Defaults to
            LayerNorm with eps 1e-6.
        bn_eps: Epsilon of the BatchNorm.
        **kwargs: Arguments of mmpretrain's ``ClsHead``: ``loss``, ``topk``,
            ``cal_acc``, ``init_cfg``.

    Raises:
        ValueError: If ``num_classes`` is not positive, or the heads do not
            divide the width.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        num_heads: int,
        norm_cfg: dict = NORM_CFG,
        bn_eps: float = 1e-5,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if num_classes < 1:
            raise ValueError(f'num_classes={num_classes} must be positive')
        self.num_classes = num_classes
        self.in_channels = in_channels
        self.query_token = nn.Parameter(torch.zeros(1, 1, in_channels))
        self.norm_q = norm_layer(norm_cfg, in_channels)
        self.norm_k = norm_layer(norm_cfg, in_channels)
        self.norm_v = norm_layer(norm_cfg, in_channels)
        self.cross_attn = CrossAttention(in_channels, num_heads)
        self.bn = nn.BatchNorm1d(in_channels, affine=False, eps=bn_eps)
        self.fc = nn.Linear(in_channels, num_classes)

    def init_weights(self) -> None:
        """Draw the initial weights; ``init_cfg`` is applied afterwards."""
        attention = self.cross_attn
        for linear in (attention.q, attention.k, attention.v, attention.proj):
            trunc_normal_(linear.weight)
        nn.init.zeros_(attention.proj.bias)
        nn.init.normal_(self.fc.weight, std=0.01)
        nn.init.zeros_(self.fc.bias)
        super().init_weights()

    def pre_logits(self, feats: tuple[Tensor, ...]) -> Tensor:
        """Pool the sequence with the query.

        Args:
            feats: The encoder's outputs; the last one, class token and patch
                tokens ``(B, 1 + L, D)``, is used.

        Returns:
            Input of the classifier, ``(B, D)``.

        Raises:
            ValueError: If the last output is not a sequence of width ``D``.
        """
        tokens = feats[-1]
        if tokens.ndim != 3 or tokens.shape[-1] != self.in_channels:
            raise ValueError(
                f'AttentiveProbeHead expects tokens (B, N, '
                f'{self.in_channels}), got {tuple(tokens.shape)}: set '
                "out_type='raw' in the backbone, and in_channels to its width"
            )
        # Exporters follow `shape`; `len` would fix the number of images.
        query = self.norm_q(self.query_token).expand(tokens.shape[0], -1, -1)
        pooled = self.cross_attn(
            query, self.norm_k(tokens), self.norm_v(tokens)
        )
        return self.bn(pooled.squeeze(1))

    def forward(self, feats: tuple[Tensor, ...]) -> Tensor:
        """Classify.

        Args:
            feats: See `pre_logits`.

        Returns:
            Logits, ``(B, num_classes)``.
        """
        return self.fc(self.pre_logits(feats))
