# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Splitting a sequence of patches into visible and masked ones."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class PatchSplit:
    """Which patches are visible and which are masked, as indices.

    The shapes of indices are known. Selecting with them, unlike with a
    boolean mask, needs no synchronization with a GPU and does not break a
    compiled graph.

    Attributes:
        visible: Ascending indices of the visible patches, int64, ``(B, V)``.
        masked: Ascending indices of the masked patches, int64, ``(B, M)``.
    """

    visible: Tensor
    masked: Tensor

    @property
    def inverse(self) -> 'PatchSplit':
        """The split in which visible and masked patches are exchanged."""
        return PatchSplit(self.masked, self.visible)

    @property
    def num_patches(self) -> int:
        """Number of patches of an image, ``L``."""
        return self.visible.shape[1] + self.masked.shape[1]

    def to(self, device: torch.device) -> 'PatchSplit':
        """Move the indices, to a GPU without waiting for the copy."""
        return PatchSplit(
            to_device(self.visible, device), to_device(self.masked, device)
        )


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Move a tensor, to a GPU without waiting for the copy.

    Args:
        tensor: Any tensor.
        device: Where it goes.

    Returns:
        The tensor on the device. PyTorch keeps the pinned memory of the copy
        until the GPU has read it.
    """
    if device.type == 'cuda' and tensor.is_cpu:
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def check_mask(mask: Tensor, num_patches: int) -> Tensor:
    """Check that a batch can be split into visible and masked patches.

    Args:
        mask: ``True`` where a patch is masked, ``(B, L)`` or ``(B, h, w)``.
        num_patches: The number ``L`` of patches of the image.

    Returns:
        The mask as booleans, ``(B, L)``.

    Raises:
        ValueError: If the mask belongs to another grid, masks nothing, or
            its rows mask different numbers of patches.
    """
    mask = mask.flatten(1).to(torch.bool)
    _check_length(mask.shape[1], num_patches)
    counts = mask.sum(dim=1)
    if (counts != counts[0]).any():
        raise ValueError(
            'every sample of a batch must mask the same number of patches, '
            f'got {counts.tolist()} masked of {num_patches}'
        )
    if counts[0] == 0:
        raise ValueError(
            f'the mask masks none of the {num_patches} patches: there is '
            'nothing to predict'
        )
    return mask


def split_patches(mask: Tensor | PatchSplit, num_patches: int) -> PatchSplit:
    """Turn a mask into indices; a split is returned unchanged.

    Args:
        mask: ``True`` where a patch is masked, ``(B, L)`` or ``(B, h, w)``;
            or a split. A mask on a GPU makes the host wait, so `CAE` splits
            masks before they are moved there.
        num_patches: The number ``L`` of patches of the image.

    Returns:
        The indices, on the mask's device.

    Raises:
        ValueError: See `check_mask`.
    """
    if isinstance(mask, PatchSplit):
        _check_length(mask.num_patches, num_patches)
        return mask
    return _split(mask, num_patches)


@torch.compiler.disable  # one graph break here instead of one for each check
def _split(mask: Tensor, num_patches: int) -> PatchSplit:
    mask = check_mask(mask, num_patches)
    num_visible = num_patches - int(mask[0].sum())
    order = mask.to(torch.uint8).argsort(stable=True, dim=1)
    return PatchSplit(
        order[:, :num_visible].contiguous(),
        order[:, num_visible:].contiguous(),
    )


def select_tokens(tokens: Tensor, index: Tensor) -> Tensor:
    """Select tokens by their indices.

    Args:
        tokens: ``(B, L, D)``, or ``(1, L, D)`` to select from the same table
            for every sample.
        index: Indices along ``L``, ``(B, N)``. They are copied if they are
            not on the device of the tokens.

    Returns:
        The selected tokens, ``(B, N, D)``.
    """
    index = index.to(tokens.device)
    rows = index
    if len(tokens) > 1:
        first = torch.arange(len(tokens), device=index.device)
        rows = index + tokens.shape[1] * first[:, None]
    # Not `gather`, which would save all tokens for the backward pass.
    selected = tokens.flatten(0, 1).index_select(0, rows.flatten())
    return selected.unflatten(0, index.shape)


def _check_length(found: int, num_patches: int) -> None:
    if found != num_patches:
        raise ValueError(
            f'the mask has {found} entries a sample, the image has '
            f"{num_patches} patches: set the mask generator's `input_size` "
            'to the patch grid (image size // patch size)'
        )
