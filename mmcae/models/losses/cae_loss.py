# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The two loss terms of CAE (paper, equation 4)."""

import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor

from mmcae.registry import MODELS

from ..ops import cross_entropy


@MODELS.register_module()
class CAELoss(BaseModule):
    """Token prediction plus alignment, l_y + lambda l_z.

    Both terms are computed in float32, also under autocast.

    Args:
        lambd: Weight of the alignment. Defaults to 2, the authors' value.
        init_cfg: Initialization config of mmengine. Defaults to None.
    """

    def __init__(
        self, lambd: float = 2.0, init_cfg: dict | None = None
    ) -> None:
        super().__init__(init_cfg)
        self.lambd = lambd

    def forward(
        self,
        logits: Tensor,
        tokens: Tensor,
        latent_pred: Tensor,
        latent_target: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Compute both terms.

        Args:
            logits: Decoder output, ``(B, M, K)`` or ``(B * M, K)``.
            tokens: Visual tokens of the masked patches, ``(B * M,)``.
            latent_pred: Regressor output, ``(B, M, D)``.
            latent_target: The encoder's latents of the masked patches,
                ``(B, M, D)``; no gradient flows into it.

        Returns:
            The mean cross-entropy over all masked patches, and the mean
            squared error over all elements times ``lambd``.
        """
        main = cross_entropy(logits.flatten(0, -2), tokens)
        align = F.mse_loss(latent_pred.float(), latent_target.detach().float())
        return main, self.lambd * align
