# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Selecting visible and masked patches by a boolean mask."""

import torch
from torch import Tensor


def check_mask(mask: Tensor, num_patches: int) -> Tensor:
    """Check that a batch can be split into visible and masked patches.

    Args:
        mask: ``True`` where a patch is masked, ``(B, L)`` or ``(B, h, w)``.
        num_patches: The number ``L`` of patches of the image.

    Returns:
        The mask as booleans, ``(B, L)``.

    Raises:
        ValueError: If the mask belongs to another grid, hides nothing, or
            its rows hide different numbers of patches.
    """
    mask = mask.flatten(1).to(torch.bool)
    if mask.shape[1] != num_patches:
        raise ValueError(
            f'the mask has {mask.shape[1]} entries a sample, the image has '
            f"{num_patches} patches: set the mask generator's `input_size` "
            'to the patch grid (image size // patch size)'
        )
    counts = mask.sum(dim=1)
    if (counts != counts[0]).any():
        raise ValueError(
            'every sample of a batch must hide the same number of patches, '
            f'got {counts.tolist()} masked of {num_patches}'
        )
    if counts[0] == 0:
        raise ValueError(
            f'the mask hides none of the {num_patches} patches: nothing is '
            'left to predict'
        )
    return mask


def select_tokens(tokens: Tensor, keep: Tensor) -> Tensor:
    """Pick tokens by a boolean mask, in row-major order.

    Args:
        tokens: ``(B, L, D)``, or ``(1, L, D)`` to pick from one table for
            every sample.
        keep: ``True`` where a token is picked, ``(B, L)``, with the same
            number of picks ``N`` in each row.

    Returns:
        The picked tokens, ``(B, N, D)``.
    """
    tokens = tokens.expand(len(keep), -1, -1)
    return tokens[keep].reshape(len(keep), -1, tokens.shape[-1])
