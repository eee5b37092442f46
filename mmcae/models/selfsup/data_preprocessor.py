# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Normalizes both views on the GPU, and leaves masks on the host."""

from collections.abc import Sequence
from typing import Any

import torch
from mmpretrain.models import TwoNormDataPreprocessor

from mmcae.registry import MODELS


@MODELS.register_module()
class CAEDataPreprocessor(TwoNormDataPreprocessor):
    """mmpretrain's ``TwoNormDataPreprocessor`` that never waits for a GPU.

    mmpretrain copies the mask of each sample to the GPU, one by one, and
    `CAE` would then have to wait for the GPU to split the masks. This
    preprocessor leaves the samples on the host, where `CAE` splits all masks
    at once. The images are bit for bit the same as mmpretrain's. Images may
    have any number of channels; ``to_rgb`` turns three channels around and
    leaves others as they are.

    Args:
        mean: Of the encoder's images: one number, or one for each channel.
        std: Their standard deviation, likewise.
        second_mean: Of the tokenizer's images, likewise.
        second_std: Their standard deviation, likewise.
        *args: Further arguments of ``TwoNormDataPreprocessor``.
        non_blocking: Whether the host continues while images are copied.
            That needs pinned memory (``pin_memory`` of the data loader).
            Defaults to True.
        **kwargs: Further arguments of ``TwoNormDataPreprocessor``.
    """

    def __init__(
        self,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        second_mean: Sequence[float] | None = None,
        second_std: Sequence[float] | None = None,
        *args: Any,
        non_blocking: bool = True,
        **kwargs: Any,
    ) -> None:
        norms = dict(
            mean=mean, std=std, second_mean=second_mean, second_std=second_std
        )
        # mmpretrain takes one or three numbers. Others are set afterwards.
        others = {
            name: torch.tensor(values, dtype=torch.float32).view(-1, 1, 1)
            for name, values in norms.items()
            if values is not None and len(values) not in (1, 3)
        }
        norms.update({name: [1.0] for name in others})
        super().__init__(
            *norms.values(), *args, non_blocking=non_blocking, **kwargs
        )
        for name, values in others.items():
            setattr(self, name, values)

    def forward(self, data: dict, training: bool = False) -> dict:
        """Move and normalize the images of a batch.

        Args:
            data: ``inputs``, the two views ``(B, C, H, W)``, and
                ``data_samples``.
            training: Not used.

        Returns:
            The same dict, with the views normalized, in float32 and on the
            device of the model.

        Raises:
            ValueError: If there are not two views.
        """
        views = data['inputs']
        if not isinstance(views, list | tuple) or len(views) != 2:
            number = len(views) if isinstance(views, list | tuple) else 1
            raise ValueError(
                f'CAEDataPreprocessor takes two views of each image, got '
                f'{number}: the pipeline needs mmcae.TwoViewRandomResizedCrop'
            )
        views = self.cast_data(views)
        if self._channel_conversion:
            # Indexing with a list would copy the list to the GPU.
            views = [v.flip(1) if v.shape[1] == 3 else v for v in views]
        views = [view.float() for view in views]
        norms = (self.mean, self.std), (self.second_mean, self.second_std)
        if self._enable_normalize:
            views = [
                (view - mean) / std
                for view, (mean, std) in zip(views, norms, strict=True)
            ]
        return dict(
            inputs=views,
            data_samples=data['data_samples'],
        )
