# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The batch that every implementation gets."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .sizes import Size


@dataclass(frozen=True)
class Batch:
    """Random images and masks.

    Attributes:
        images: Normalized images, ``(B, 3, H, W)``.
        token_images: Images for DALL-E's tokenizer, with values from 0.1 to
            0.9, ``(B, 3, h, w)``.
        mask: ``True`` where a patch is masked, ``(B, L)``.
        host_mask: The same on the CPU, where our data preprocessor leaves
            masks: on a GPU, to read them would make the host wait.
        tokens: Tokens of all patches, ``(B, L)``, for implementations that
            run without their tokenizer. They are on the CPU, like tokens from
            a token store.
    """

    images: Tensor
    token_images: Tensor
    mask: Tensor
    host_mask: Tensor
    tokens: Tensor

    def __len__(self) -> int:
        return len(self.images)


def make_batch(
    size: Size, batch_size: int, device: torch.device, seed: int = 0
) -> Batch:
    """Draw a random batch; in each image half of the patches are masked."""
    draw = torch.Generator().manual_seed(seed)
    shape, patches = (batch_size, 3), size.grid**2
    images = torch.randn(*shape, *[size.image_size] * 2, generator=draw)
    views = torch.rand(*shape, *[size.token_size] * 2, generator=draw)
    order = torch.rand(batch_size, patches, generator=draw).argsort(dim=1)
    tokens = torch.randint(
        size.model.neck.num_classes, (batch_size, patches), generator=draw
    )
    mask = order < size.num_masked
    return Batch(
        images.to(device),
        (0.8 * views + 0.1).to(device),
        mask.to(device),
        mask,
        tokens,
    )
