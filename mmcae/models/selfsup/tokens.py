# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The visual tokens that CAE predicts (paper, tokenizer T)."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..layers import PatchSplit, split_patches
from ..layers.masking import to_device

#: Called with the samples whose tokens were computed, and the tokens (B', L).
TokenListener = Callable[[Sequence[Any], Tensor], None]


def check_pixel_norm(
    target_generator: nn.Module, data_preprocessor: nn.Module
) -> None:
    """Check that the second view is normalized as the tokenizer needs it.

    Wrongly scaled pixels also give valid tokens, so no later check could
    find the mistake.

    Args:
        target_generator: The tokenizer. Nothing is checked if it has no
            ``pixel_norm = (mean, std)``.
        data_preprocessor: The module that normalizes the views. Nothing is
            checked if it has no ``second_mean`` and ``second_std``.

    Raises:
        ValueError: If they differ.
    """
    wanted = getattr(target_generator, 'pixel_norm', None)
    mean = getattr(data_preprocessor, 'second_mean', None)
    std = getattr(data_preprocessor, 'second_std', None)
    if wanted is None or mean is None or std is None or mean.is_meta:
        return
    given = (mean.flatten().tolist(), std.flatten().tolist())
    for values, number in zip(given, wanted, strict=True):
        if any(abs(value - number) > 1e-3 for value in values):
            raise ValueError(
                f'{type(target_generator).__name__} wants the second view '
                f'with second_mean={wanted[0]} and second_std={wanted[1]}, '
                f'but data_preprocessor has {given[0]} and {given[1]}'
            )


@torch.no_grad()
def all_tokens(target_generator: nn.Module | None, images: Tensor) -> Tensor:
    """Compute the token of every patch, without gradient and autocast.

    Args:
        target_generator: The tokenizer. If it has no ``tokenize(images)``,
            it must return logits ``(B, K, h, w)``, as in mmpretrain.
        images: Images normalized for the tokenizer, ``(B, 3, H, W)``.

    Returns:
        Tokens, row-major, int64, ``(B, L)``.

    Raises:
        ValueError: If there is no tokenizer.
    """
    if target_generator is None:
        raise ValueError(
            'CAE needs a `target_generator` to train: mmcae.DALLEEncoder or '
            'mmcae.DVAE'
        )
    with torch.autocast(images.device.type, enabled=False):
        tokenize = getattr(target_generator, 'tokenize', None)
        if tokenize is None:
            return target_generator(images).argmax(dim=1).flatten(1)
        return tokenize(images)


@torch.compiler.disable  # frozen, and has its own kernels
@torch.no_grad()
def masked_tokens(
    target_generator: nn.Module | None,
    images: Tensor,
    mask: Tensor | PatchSplit,
    samples: Sequence[Any] = (),
    listeners: Sequence[TokenListener] = (),
) -> Tensor:
    """Take or compute the tokens of the masked patches.

    The tokenizer runs without gradient and outside autocast, see
    :func:`all_tokens`. If its ``tokenize`` has an argument ``mask``, it
    computes the tokens of masked patches only, unless some samples have stored
    tokens or there are listeners.

    Args:
        target_generator: The tokenizer; not needed if all samples have
            tokens.
        images: Images normalized for the tokenizer, ``(B', 3, H, W)``, of
            the samples that have no tokens.
        mask: ``True`` where a patch is masked, ``(B, L)``, or the result of
            `split_patches`.
        samples: The samples. If a sample has ``tokens`` ``(L,)``, these are
            used and not computed.
        listeners: Functions that are called with the samples whose tokens
            were computed, and all their tokens ``(B', L)``.

    Returns:
        Tokens of all masked patches, row-major, int64, ``(B * M,)``.

    Raises:
        ValueError: If there is no tokenizer, its grid is not the mask's, or
            images and samples do not fit together.
    """
    stored = [getattr(sample, 'tokens', None) for sample in samples]
    computed = [i for i, tokens in enumerate(stored) if tokens is None]
    if not listeners and len(computed) == len(stored):
        return _ask_masked(target_generator, images, mask)
    if len(images) != len(computed):
        raise ValueError(
            f'{len(images)} images for the tokenizer, but {len(computed)} of '
            f'{len(stored)} samples without tokens: samples from a token '
            "store need collate_fn=dict(type='mmcae.collate_views')"
        )
    split = split_patches(mask, _num_patches(mask))
    device = split.masked.device
    known = {i: row for i, row in enumerate(stored) if row is not None}
    parts = []
    if known:
        rows = torch.from_numpy(np.stack(list(known.values())))
        parts.append(to_device(rows.to(torch.int64), device))
    if computed:
        new = all_tokens(target_generator, images)
        _check_grid(new.shape[1], images, split.num_patches)
        for listener in listeners:
            listener([samples[i] for i in computed], new)
        parts.append(new)
    tokens = torch.cat(parts)
    if len(parts) > 1:
        order = torch.tensor([*known, *computed]).argsort()
        tokens = tokens[to_device(order, device)]
    return tokens.gather(1, split.masked).flatten()


def _num_patches(mask: Tensor | PatchSplit) -> int:
    return mask.shape[1] if isinstance(mask, Tensor) else mask.num_patches


def _ask_masked(
    target_generator: nn.Module | None,
    images: Tensor,
    mask: Tensor | PatchSplit,
) -> Tensor:
    downsample = getattr(target_generator, 'downsample', None)
    if downsample is not None:
        rows, columns = (side // downsample for side in images.shape[-2:])
        _check_grid(rows * columns, images, _num_patches(mask))
    tokenize = getattr(target_generator, 'tokenize', None)
    if tokenize and 'mask' in inspect.signature(tokenize).parameters:
        with torch.autocast(images.device.type, enabled=False):
            return tokenize(images, mask=mask)
    tokens = all_tokens(target_generator, images)
    _check_grid(tokens.shape[1], images, _num_patches(mask))
    masked = split_patches(mask, tokens.shape[1]).masked
    return tokens.gather(1, masked).flatten()


def _check_grid(num_tokens: int, images: Tensor, num_patches: int) -> None:
    if num_tokens != num_patches:
        raise ValueError(
            f'the tokenizer gives {num_tokens} tokens for an image of '
            f'{tuple(images.shape[-2:])}, the mask has {num_patches} '
            'patches: the size of the second view must be the patch grid '
            'times the downsampling of the tokenizer'
        )
