# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Which parts of a `CAEViT` ``frozen_stages`` freezes."""

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from .cae_vit import CAEViT


def frozen_modules(vit: 'CAEViT') -> list[nn.Module]:
    """List the frozen parts: the embedding, blocks, and norms after all.

    Args:
        vit: The encoder; its first ``frozen_stages`` blocks are frozen.

    Returns:
        The modules, none if ``frozen_stages`` is 0 or -1.
    """
    if vit.frozen_stages <= 0:
        return []
    frozen = [vit.patch_embed, vit.drop_after_pos]
    frozen += list(vit.layers[: vit.frozen_stages])
    if vit.frozen_stages >= vit.num_layers:
        norms = [getattr(vit, name, None) for name in ('ln1', 'ln2')]
        frozen += [norm for norm in norms if norm is not None]
    return frozen


def freeze(vit: 'CAEViT') -> None:
    """Let the frozen parts, and the class token, need no gradient."""
    for module in frozen_modules(vit):
        module.requires_grad_(False)
    if vit.frozen_stages > 0 and vit.cls_token is not None:
        vit.cls_token.requires_grad_(False)
