# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Which implementations are measured, built with the same weights."""

from pathlib import Path

import torch

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
    official: Path | None = None,
    only: str | None = None,
) -> dict[str, Implementation]:
    """Build the implementations, ours first.

    Args:
        size: What to build.
        precision: See `Implementation`.
        device: See `Implementation`.
        stored: Whether ours takes stored tokens; then there is also
            mmpretrain's without its tokenizer.
        official: The authors' repository, if it is to be measured.
        only: Name of the one that is wanted.

    Raises:
        ValueError: If ``only`` is none of them.
    """
    ours = Ours(size, precision, device, stored=stored)
    found: dict[str, Implementation] = {ours.name: ours}

    def wanted(name: str) -> bool:
        return only in (None, name)

    if wanted(OpenMMLab.name):
        peer = OpenMMLab(size, precision, device, ours.model)
        found[peer.name] = peer
    if stored and wanted('mmpretrain, tokens given'):
        peer = OpenMMLab(size, precision, device, ours.model, given=True)
        found[peer.name] = peer
    if official is not None and wanted(Official.name):
        other = OpenMMLab(size, precision, device, ours.model).model
        tokenizer = other.target_generator.requires_grad_(False)
        found[Official.name] = Official(
            official, size, precision, device, ours.model, tokenizer
        )
    for implementation in found.values():
        for group in implementation.optimizer.param_groups:
            group['lr'] = 1e-6  # noise must not break the weights
    if only is None:
        return found
    if only not in found:
        raise ValueError(f'there is no {only!r}, but {list(found)}')
    return {only: found[only]}
