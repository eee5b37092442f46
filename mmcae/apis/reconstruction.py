# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Pictures of the tokens that a pretrained CAE predicts."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from mmcae.apis.evaluating import evaluating
from mmcae.models import CAE
from mmcae.models.layers import check_mask


class Reconstruction(NamedTuple):
    """Tokens and pictures of a batch; pictures are RGB in [0, 1].

    Attributes:
        tokens: Tokens of the whole images, ``(B, L)``.
        predicted: The same, but with the predicted tokens at masked patches.
        picture: ``predicted``, decoded by the tokenizer's decoder,
            ``(B, 3, H, W)``.
        tokenizer_picture: ``tokens``, decoded by the same decoder,
            ``(B, 3, H, W)``. No prediction can look better.
        accuracy: Share of the masked patches whose token is predicted
            correctly.
    """

    tokens: Tensor
    predicted: Tensor
    picture: Tensor
    tokenizer_picture: Tensor
    accuracy: float


@torch.no_grad()
def reconstruct(
    model: CAE,
    images: Tensor,
    token_images: Tensor,
    mask: Tensor,
    decoder: Any = None,
) -> Reconstruction:
    """Predict the tokens of masked patches and decode them to pictures.

    Args:
        model: A CAE with a tokenizer. If the tokenizer has not loaded its
            weights yet, they are loaded from the file in its config.
        images: Preprocessed images for the encoder, ``(B, 3, H, W)``.
        token_images: The same for the tokenizer, ``(B, 3, H', W')``.
        mask: ``True`` where a patch is masked, ``(B, L)``.
        decoder: A module that turns tokens into pictures with its method
            ``reconstruct(tokens, grid=...)``. Defaults to the tokenizer
            itself (`DVAE`); DALL-E needs a `DALLEDecoder`.

    Returns:
        See `Reconstruction`.

    Raises:
        ValueError: If neither the tokenizer nor ``decoder`` can decode.
    """
    tokenizer = model.target_generator
    configured = getattr(tokenizer, 'init_cfg', None)
    if configured and getattr(tokenizer, 'weights_info', None) is None:
        tokenizer.init_weights()  # a CAE checkpoint has no tokenizer
    decoder = decoder or tokenizer
    if not hasattr(decoder, 'reconstruct'):
        raise ValueError(
            f'{type(decoder).__name__} cannot decode tokens: pass the '
            "tokenizer's decoder, e.g. mmcae.DALLEDecoder"
        )
    with evaluating(model):
        grid = model.backbone.grid(images)
        mask = check_mask(mask, grid[0] * grid[1])
        visible = model.backbone(images, mask)[:, 1:]
        logits, _ = model.neck(visible, mask, grid)
        tokens = tokenizer.tokenize(token_images)
    predicted = tokens.clone()
    predicted[mask] = logits.flatten(0, 1).argmax(dim=-1)
    return Reconstruction(
        tokens=tokens,
        predicted=predicted,
        picture=decoder.reconstruct(predicted, grid=grid),
        tokenizer_picture=decoder.reconstruct(tokens, grid=grid),
        accuracy=(predicted == tokens)[mask].float().mean().item(),
    )
