# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Adapt a patch embedding to images with another number of channels."""

import torch
from torch import Tensor

#: The most channels that an image may have.
MAX_CHANNELS = 16


def adapt_patch_channels(weight: Tensor, channels: int) -> Tensor:
    """Make a patch embedding's weight fit another number of channels.

    The channels of the weight are repeated cyclically (red, green, blue, red,
    ...), and the copies of a channel share its weight equally. For fewer
    channels, the weights of the channels that fall together are added. So an
    image whose channels are all equal gives the same features as before, for
    any number of channels.

    Args:
        weight: Of a convolution, ``(D, C, h, w)``.
        channels: The number that is wanted, from 1 to 16.

    Returns:
        The weight, ``(D, channels, h, w)``; ``weight`` itself if it fits.

    Raises:
        ValueError: If the weight has another shape, or the number of channels
            is not from 1 to 16.
    """
    if weight.ndim != 4:
        raise ValueError(
            'the weight of a patch embedding is (D, C, h, w), got '
            f'{tuple(weight.shape)}'
        )
    if not 1 <= channels <= MAX_CHANNELS:
        raise ValueError(
            f'channels={channels}: must be from 1 to {MAX_CHANNELS}'
        )
    given = weight.shape[1]
    if channels == given:
        return weight
    if channels > given:
        source = torch.arange(channels, device=weight.device) % given
        copies = source.bincount(minlength=given)[source]
        return weight[:, source] / copies.to(weight.dtype)[:, None, None]
    target = torch.arange(given, device=weight.device) % channels
    added = weight.new_zeros(len(weight), channels, *weight.shape[2:])
    return added.index_add_(1, target, weight)


def describe_adaption(given: int, channels: int) -> str:
    """Say in words what `adapt_patch_channels` does, for reports.

    Args:
        given: Channels of the weight.
        channels: The number that is wanted.

    Returns:
        For example ``'3 channels repeated to 4, copies share their weight'``.
    """
    before = f'{given} channel{"s" if given > 1 else ""}'
    if channels > given:
        return f'{before} repeated to {channels}, copies share their weight'
    return f'{before} added up to {channels}'
