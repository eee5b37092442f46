# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The head that compares predictions with targets (paper, figure 2)."""

from mmengine.model import BaseModule
from torch import Tensor

from mmcae.registry import MODELS


@MODELS.register_module()
class CAEHead(BaseModule):
    """Total loss of CAE pretraining.

    Args:
        loss: Config of the loss module. Defaults to `CAELoss`.
        init_cfg: Initialization config of mmengine. Defaults to None.
    """

    def __init__(
        self,
        loss: dict = dict(type='mmcae.CAELoss'),
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.loss_module = MODELS.build(loss)

    def loss(
        self,
        logits: Tensor,
        tokens: Tensor,
        latent_pred: Tensor,
        latent_target: Tensor,
    ) -> dict[str, Tensor]:
        """Compute the losses.

        Args:
            logits: Decoder output, ``(B, M, K)``.
            tokens: Visual tokens of the masked patches, ``(B * M,)``.
            latent_pred: Regressor output, ``(B, M, D)``.
            latent_target: Alignment target, ``(B, M, D)``.

        Returns:
            ``loss``, the sum to be minimized, and its two terms ``main``
            (token prediction) and ``align`` (weight included).
        """
        main, align = self.loss_module(
            logits, tokens, latent_pred, latent_target
        )
        return dict(loss=main + align, main=main, align=align)
