# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The encoder F of CAE on a subset of the patches (paper, section 3)."""

from typing import Any

from torch import Tensor

from mmcae.registry import MODELS

from ..layers import PatchSplit, select_tokens, split_patches
from .cae_vit import CAEViT

#: What `CAEViT.embed` returns.
Embedded = tuple[Tensor, Tensor, tuple[int, int]]


@MODELS.register_module()
class CAEPretrainViT(CAEViT):
    """Encoder for pretraining: hidden patches never enter it.

    With a mask it encodes the class token and the visible patches only;
    without one it is `CAEViT`.

    Args:
        arch: See `CAEViT`.
        final_norm: Whether the output is normalised; the regressor and the
            alignment target need that. Defaults to True.
        out_type: Output without a mask. Defaults to ``'raw'``.
        use_rel_pos_bias: Not used in pretraining. Defaults to False.
        **kwargs: Further arguments of `CAEViT`.

    Raises:
        ValueError: If a relative position bias or no class token is asked
            for: the regressor would see other positions than the encoder;
            or windows, which a subset of the patches does not fill.
    """

    def __init__(
        self,
        arch: str | dict = 'base',
        final_norm: bool = True,
        out_type: str = 'raw',
        use_rel_pos_bias: bool = False,
        **kwargs: Any,
    ) -> None:
        if use_rel_pos_bias or kwargs.get('use_shared_rel_pos_bias'):
            raise ValueError(
                'CAE pretrains without relative position bias: set '
                'use_rel_pos_bias=False and use_shared_rel_pos_bias=False'
            )
        if not kwargs.get('with_cls_token', True):
            raise ValueError('CAE pretrains with a class token')
        if kwargs.get('window_size') is not None:
            raise ValueError('CAE pretrains without windows: window_size=None')
        super().__init__(
            arch=arch,
            final_norm=final_norm,
            out_type=out_type,
            use_rel_pos_bias=False,
            **kwargs,
        )

    def forward(  # type: ignore[override]
        self,
        x: Tensor | Embedded,
        mask: Tensor | PatchSplit | None = None,
    ) -> Tensor | tuple[Tensor, ...]:
        """Encode the visible patches, Z_v = F(X_v).

        Args:
            x: Images, ``(B, C, H, W)``; or what `embed` made of them, so
                that visible and masked patches are embedded once.
            mask: ``True`` where a patch is masked, ``(B, L)``, or what
                `split_patches` made of that. None encodes whole images.

        Returns:
            With a mask, the normalised class token and the ``V`` visible
            patches, ``(B, 1 + V, D)``; without, see `CAEViT.forward`.

        Raises:
            ValueError: If rows of the mask hide different numbers of
                patches, or the mask belongs to another grid.
        """
        if mask is None:
            return super().forward(x)  # type: ignore[arg-type]
        embedded = self.embed(x) if isinstance(x, Tensor) else x
        patches, position, _ = embedded
        visible = split_patches(mask, patches.shape[1]).visible
        patches = select_tokens(patches, visible) + select_tokens(
            position[:, 1:], visible
        )
        tokens = self.prepend_class_token(patches, position)
        for layer in self.layers:
            tokens = layer(tokens)
        return self.ln1(tokens) if self.final_norm else tokens
