# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""What a pretrained CAE predicts for the masked patches of a batch."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mmcae.apis.evaluating import evaluating
from mmcae.models import CAE
from mmcae.models.layers import check_mask
from mmcae.models.selfsup.tokens import all_tokens


class Prediction(NamedTuple):
    """Predictions for the ``M`` masked patches of each image of a batch.

    Attributes:
        outputs: Output of the decoder: logits over the codes, or predicted
            features, ``(B, M, K)``.
        latent_pred: Latents that the regressor predicts, ``(B, M, D)``.
        latent_target: Latents of the masked patches that the encoder
            computes, ``(B, M, D)``.
        alignment: Cosine of the two, ``(B, M)``.
        others: Mean cosine of each image's predictions with the encoder's
            latents of its *other* masked patches, ``(B,)``. If it is as high
            as the alignment, the latents hardly differ between patches. NaN
            with one masked patch.
        tokens: Tokens of all patches, ``(B, L)``. None without a tokenizer.
        predicted: The same with the predicted tokens at masked patches.
    """

    outputs: Tensor
    latent_pred: Tensor
    latent_target: Tensor
    alignment: Tensor
    others: Tensor
    tokens: Tensor | None
    predicted: Tensor | None


@torch.no_grad()
def predict_masked(
    model: CAE,
    images: Tensor,
    mask: Tensor,
    token_images: Tensor | None = None,
    tokenizer: Any = None,
) -> Prediction:
    """Run CAE as in training, without losses.

    Args:
        model: A CAE. It is in evaluation mode during the call.
        images: Preprocessed images for the encoder, ``(B, 3, H, W)``.
        mask: ``True`` where a patch is masked, ``(B, L)``. All rows mask the
            same number of patches.
        token_images: The same images for the tokenizer, ``(B, 3, H', W')``.
        tokenizer: The tokenizer with its weights. None leaves the tokens
            out, and so does a target that consists of features.

    Returns:
        See `Prediction`.

    Raises:
        ValueError: If the mask, or the tokens, belong to another grid.
    """
    with evaluating(model):
        grid = model.backbone.grid(images)
        mask = check_mask(mask, grid[0] * grid[1]).to(images.device)
        visible = model.backbone(images, mask)[:, 1:]
        outputs, latent_pred = model.neck(visible, mask, grid)
        latent_target = model.latent_target(images, mask)
        tokens = predicted = None
        kind = getattr(tokenizer, 'kind', 'tokens')
        if tokenizer is not None and kind == 'tokens':
            assert token_images is not None
            tokens = all_tokens(tokenizer, token_images)
            if tokens.shape != mask.shape:
                raise ValueError(
                    f'the tokenizer gives {tokens.shape[1]} tokens, the image '
                    f'has {mask.shape[1]} patches'
                )
            predicted = tokens.clone()
            predicted[mask] = outputs.flatten(0, 1).argmax(dim=-1)
    alignment = F.cosine_similarity(latent_pred, latent_target, dim=-1)
    return Prediction(
        outputs=outputs,
        latent_pred=latent_pred,
        latent_target=latent_target,
        alignment=alignment,
        others=_mean_with_others(latent_pred, latent_target, alignment),
        tokens=tokens,
        predicted=predicted,
    )


def _mean_with_others(
    pred: Tensor, target: Tensor, alignment: Tensor
) -> Tensor:
    """Mean cosine over all pairs of different patches of an image."""
    pairs = F.normalize(pred, dim=-1) @ F.normalize(target, dim=-1).mT
    count = alignment.shape[1]
    total = pairs.sum(dim=(1, 2)) - alignment.sum(dim=1)
    return total / (count * (count - 1)) if count > 1 else total * torch.nan
