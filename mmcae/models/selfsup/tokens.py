# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The visual tokens that CAE predicts (paper, tokenizer T)."""

import inspect

import torch
from torch import Tensor, nn


def check_pixel_norm(
    target_generator: nn.Module, data_preprocessor: nn.Module
) -> None:
    """Check that the second view is normalised as the tokenizer wants it.

    Tokens of wrongly scaled pixels look like any others, so nothing else
    would tell.

    Args:
        target_generator: A tokenizer; without ``pixel_norm = (mean, std)``
            there is nothing to check.
        data_preprocessor: What normalises the views; likewise without
            ``second_mean`` and ``second_std``.

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
def masked_tokens(
    target_generator: nn.Module | None, images: Tensor, mask: Tensor
) -> Tensor:
    """Ask a tokenizer for the tokens of the masked patches.

    It runs without gradient and outside autocast. A tokenizer offers
    ``tokenize(images) -> (B, L)``; if that also takes ``mask``, it is asked
    for the masked positions only. Without ``tokenize``, the module's output
    is taken as logits ``(B, K, h, w)``, mmpretrain's contract.

    Args:
        target_generator: The tokenizer.
        images: Images as the tokenizer wants them, ``(B, 3, H, W)``.
        mask: ``True`` where a patch is masked, ``(B, L)``.

    Returns:
        Tokens of all masked patches, row-major, int64, ``(B * M,)``.

    Raises:
        ValueError: If there is no tokenizer, or its grid is not the mask's.
    """
    if target_generator is None:
        raise ValueError(
            'CAE needs a `target_generator` to train: mmcae.DALLEEncoder or '
            'mmcae.DVAE'
        )
    downsample = getattr(target_generator, 'downsample', None)
    if downsample is not None:
        rows, columns = (side // downsample for side in images.shape[-2:])
        _check_grid(rows * columns, images, mask)
    with torch.autocast(images.device.type, enabled=False):
        tokenize = getattr(target_generator, 'tokenize', None)
        if tokenize is None:
            tokens = target_generator(images).argmax(dim=1).flatten(1)
        elif 'mask' in inspect.signature(tokenize).parameters:
            return tokenize(images, mask=mask)
        else:
            tokens = tokenize(images)
    _check_grid(tokens.shape[1], images, mask)
    return tokens[mask]


def _check_grid(num_tokens: int, images: Tensor, mask: Tensor) -> None:
    if num_tokens != mask.shape[1]:
        raise ValueError(
            f'the tokenizer gives {num_tokens} tokens an image of '
            f'{tuple(images.shape[-2:])}, the mask has {mask.shape[1]} '
            'patches: set the size of the second view to patch grid x '
            'downsampling of the tokenizer'
        )
