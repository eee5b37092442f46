# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The encoder F of CAE on a subset of the patches (paper, section 3)."""

from typing import Any

from torch import Tensor

from mmcae.registry import MODELS
from mmcae.utils.old_names import old_names

from ..layers import PatchSplit, select_tokens, split_patches
from .cae_vit import CAEViT, PatchEmbedding


@MODELS.register_module()
class CAEPretrainViT(CAEViT):
    """Encoder for pretraining: masked patches never enter it.

    With a mask it encodes the class token and the visible patches only;
    without one it is `CAEViT`.

    Args:
        arch: See `CAEViT`.
        final_norm: Whether the output is normalized; the regressor and the
            alignment target need that. Defaults to True.
        out_type: Output without a mask. Defaults to ``'raw'``.
        use_rel_pos_bias: Not used in pretraining. Defaults to False.
        **kwargs: Further arguments of `CAEViT`.

    Raises:
        ValueError: If a relative position bias is asked for, because the
            regressor would see other positions than the encoder; or windows,
            because a subset of the patches does not fill them.
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
        self, x: Tensor, mask: Tensor | PatchSplit | None = None
    ) -> Tensor | tuple[Tensor, ...]:
        """Encode images, or their visible patches only.

        Args:
            x: Images, ``(B, C, H, W)``.
            mask: ``True`` where a patch is masked, ``(B, L)``, or what
                `split_patches` made of that. None encodes whole images.

        Returns:
            With a mask, see `encode`; without, see `CAEViT.forward`.

        Raises:
            ValueError: If rows of the mask mask different numbers of
                patches, or the mask belongs to another grid.
        """
        if mask is None:
            return super().forward(x)
        embedding = self.embed(x)
        split = split_patches(mask, embedding.tokens.shape[1])
        return self.encode(embedding, split)

    def encode(self, embedding: PatchEmbedding, split: PatchSplit) -> Tensor:
        """Encode the visible patches, Z_v = F(X_v).

        Args:
            embedding: The embedded images. It does not depend on the mask,
                so visible and masked patches can share it.
            split: Which patches are visible.

        Returns:
            The normalized class token and the ``V`` visible patches,
            ``(B, 1 + V, D)``.
        """
        tokens, position, _ = embedding
        visible = select_tokens(tokens, split.visible) + select_tokens(
            position[:, 1:], split.visible
        )
        x = self.prepend_class_token(visible, position)
        for layer in self.layers:
            x = layer(x)
        return self.ln1(x)


__getattr__ = old_names(__name__, {'Embedded': 'PatchEmbedding'})
