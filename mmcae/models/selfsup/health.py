# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Metrics that show whether a pretraining collapses."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import PatchSplit


def perplexity(counts: Tensor) -> Tensor:
    """Compute exp(entropy) of a histogram of codes, ``(K,)``."""
    share = counts / counts.sum().clamp_min(1)
    return torch.exp(-torch.special.xlogy(share, share).sum())


def latent_health(
    latent_pred: Tensor, latent_target: Tensor
) -> dict[str, Tensor]:
    """Measure how well latents are predicted, and whether they collapse.

    Args:
        latent_pred: Regressor output, ``(B, M, D)``.
        latent_target: Alignment target, ``(B, M, D)``.

    Returns:
        ``cosine``, the mean cosine between prediction and target, and
        ``latent_std``, the standard deviation of the target over batch and
        patches, averaged over channels (a value near 0 means collapse).
    """
    pred, target = latent_pred.float(), latent_target.float()
    return dict(
        cosine=F.cosine_similarity(pred, target, dim=-1).mean(),
        latent_std=target.flatten(0, 1).std(dim=0, unbiased=False).mean(),
    )


class TokenHealth(nn.Module):
    """Measures the token accuracy, and that of a guess from the position.

    The accuracy alone says little: it is *highest* with a tokenizer that has
    collapsed to a few codes. So it is logged beside a baseline, which predicts
    for each position the code that was most frequent there so far in the run.

    Args:
        num_classes: Number ``K`` of codes.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        # A statistic of the run, not a part of the model, so no buffer:
        # mmengine's EMAHook copies buffers and fails on one that grows.
        self.counts = torch.zeros(0)

    @torch.compiler.disable  # `counts` gets its shape from the first batch
    @torch.no_grad()
    def forward(
        self, logits: Tensor, tokens: Tensor, split: PatchSplit
    ) -> dict[str, Tensor]:
        """Measure one batch, then add it to the statistics.

        Args:
            logits: Decoder output, ``(B, M, K)``.
            tokens: Visual tokens of the masked patches, ``(B * M,)``.
            split: Which patches are masked.

        Returns:
            ``acc`` and ``acc_position`` (shares of masked patches, 0 to 1),
            and ``perplexity`` of the targets seen so far.
        """
        num_patches = split.num_patches
        if self.counts.shape != (num_patches, self.num_classes):
            self.counts = torch.zeros(
                num_patches, self.num_classes, device=tokens.device
            )
        self.counts = self.counts.to(tokens.device)
        positions = split.masked.flatten()
        usual = self.counts.argmax(dim=1)[positions]
        # For bfloat16 on CPUs, `max` is six times as fast as `argmax`.
        predicted = logits.flatten(0, -2).max(dim=-1).indices
        index = positions * self.num_classes + tokens
        self.counts.view(-1).scatter_add_(
            0, index, torch.ones_like(index, dtype=self.counts.dtype)
        )
        return dict(
            acc=(predicted == tokens).float().mean(),
            acc_position=(usual == tokens).float().mean(),
            perplexity=perplexity(self.counts.sum(dim=0)),
        )
