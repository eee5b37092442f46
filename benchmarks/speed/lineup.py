# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Build the implementations that are measured, with the same weights."""

from pathlib import Path

import torch
from torch import nn

from .implementation import Implementation
from .official import Official
from .openmmlab import OpenMMLab
from .ours import Ours
from .sizes import Size


def build_lineup(
    size: Size,
    precision: str,
    device: torch.device,
    stored: bool = False,
    with_cp: bool = False,
    official: Path | None = None,
    only: str | None = None,
) -> dict[str, Implementation]:
    """Build the implementations, ours first.

    Args:
        size: Size of the models.
        precision: See `Implementation`.
        device: See `Implementation`.
        stored: Whether ours reads stored tokens. If so, mmpretrain's is built
            a second time, without its tokenizer.
        with_cp: Whether ours is built a second time, with activation
            checkpointing.
        official: Folder of the authors' repository; ``None`` leaves it out.
        only: Name of the only implementation to build; ``None``: all.

    Returns:
        The implementations by name.

    Raises:
        ValueError: If no implementation has the name ``only``.
    """
    found: dict[str, Implementation] = {}
    weights: nn.Module | None = None  # of the first one, copied to the others

    def wanted(name: str) -> bool:
        return only in (None, name)

    suffix = ', stored tokens' if stored else ''
    for name, checkpointing in (('mmcae', False), ('mmcae, with_cp', True)):
        if wanted(name + suffix) and (with_cp or not checkpointing):
            ours = Ours(size, precision, device, stored, checkpointing)
            if weights is None:
                weights = ours.model
            else:
                ours.start_from(weights)
            found[name + suffix] = ours
    if wanted(OpenMMLab.name):
        peer = OpenMMLab(size, precision, device, weights)
        found[peer.name] = peer
    if stored and wanted('mmpretrain, tokens given'):
        peer = OpenMMLab(size, precision, device, weights, given=True)
        found[peer.name] = peer
    if official is not None and wanted(Official.name):
        other = OpenMMLab(size, precision, device, weights).model
        tokenizer = other.target_generator.requires_grad_(False)
        found[Official.name] = Official(
            official, size, precision, device, weights, tokenizer
        )
    for implementation in found.values():
        for group in implementation.optimizer.param_groups:
            group['lr'] = 1e-6  # training on noise must not diverge
    if only is None:
        return found
    if only not in found:
        raise ValueError(f'there is no {only!r}, but {list(found)}')
    return {only: found[only]}
