# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Linear classifiers with different learning rates, trained together."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from mmpretrain.models.heads import ClsHead
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from mmcae.registry import MODELS


@MODELS.register_module()
class SweepLinearHead(ClsHead):
    """One linear classifier for each learning rate, on the same features.

    Computing the features of a frozen encoder takes nearly all the time of a
    linear probe; here they are computed once for all rates. The classifiers
    start from the same weights. Their losses are summed, so each is trained
    as if it were alone; `SweepOptimWrapperConstructor` gives each its rate.
    (One exception: with float16, a gradient that overflows makes the loss
    scaler skip the step for all of them.)

    ``accuracy`` is saved with the weights: the top-1 accuracy of each
    classifier in the last evaluation, set by `SweepAccuracyHook`. The
    classifier with the highest accuracy is *the best*; before the first
    evaluation that is the first one.

    Args:
        num_classes: Number of classes.
        in_channels: Width of the features.
        lrs: The peak learning rates.
        topk: The largest of these numbers says how many labels of each
            classifier's prediction are kept.
        init_cfg: Initialization of a classifier. Defaults to a normal
            distribution with standard deviation 0.01.
        **kwargs: Arguments of mmpretrain's ``ClsHead``: ``loss``.

    Raises:
        ValueError: If there is no rate, one is not positive, or two are
            equal to six digits and would have the same name.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        lrs: Sequence[float],
        topk: int | Sequence[int] = (1, 5),
        init_cfg: dict | None = dict(type='Normal', layer='Linear', std=0.01),
        **kwargs: Any,
    ) -> None:
        topk = (topk,) if isinstance(topk, int) else tuple(topk)
        super().__init__(topk=topk, init_cfg=init_cfg, **kwargs)
        self.names = [f'lr{lr:g}' for lr in lrs]
        if not lrs or min(lrs) <= 0 or len(set(self.names)) < len(lrs):
            raise ValueError(
                f'SweepLinearHead: lrs={list(lrs)} must be different '
                'positive learning rates, at least one'
            )
        self.lrs = tuple(lrs)
        self.num_classes = num_classes
        # Copies, since drawing weights again would change all random numbers
        # that are drawn later, compared with a run with one rate.
        linear = nn.Linear(in_channels, num_classes)
        self.fcs = nn.ModuleDict(
            {self.key(name): copy.deepcopy(linear) for name in self.names}
        )
        self.accuracy: Tensor
        self.register_buffer('accuracy', torch.zeros(len(self.names)))

    @staticmethod
    def key(name: str) -> str:
        """Return a classifier's key in ``fcs``, which must have no dots."""
        return name.replace('.', '_')

    def init_weights(self) -> None:
        """Draw the weights of the first classifier; copy them to the rest."""
        super().init_weights()
        first, *others = self.fcs.values()
        for fc in others:
            fc.load_state_dict(first.state_dict())

    @property
    def best(self) -> str:
        """Name of the best classifier in the last evaluation."""
        return self.names[int(self.accuracy.argmax())]

    def all_logits(self, feats: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """Classify with all classifiers.

        Args:
            feats: The neck's outputs; the last one, ``(B, D)``, is used.

        Returns:
            Logits ``(B, num_classes)`` by the name of the classifier.
        """
        features = self.pre_logits(feats)
        return {
            name: self.fcs[self.key(name)](features) for name in self.names
        }

    def forward(self, feats: tuple[Tensor, ...]) -> Tensor:
        """Classify with the best classifier.

        Args:
            feats: See `all_logits`.

        Returns:
            Logits, ``(B, num_classes)``.
        """
        return self.fcs[self.key(self.best)](self.pre_logits(feats))

    def loss(
        self,
        feats: tuple[Tensor, ...],
        data_samples: list[DataSample],
        **kwargs: Any,
    ) -> dict[str, Tensor]:
        """Compute the loss of each classifier.

        Args:
            feats: See `all_logits`.
            data_samples: Data samples with labels.
            **kwargs: Arguments of the loss module.

        Returns:
            ``loss_lr0.8`` and so on. mmengine minimizes their sum.
        """
        return {
            f'loss_{name}': self._get_loss(logits, data_samples, **kwargs)[
                'loss'
            ]
            for name, logits in self.all_logits(feats).items()
        }

    def predict(
        self,
        feats: tuple[Tensor, ...],
        data_samples: list[DataSample] | None = None,
    ) -> list[DataSample]:
        """Predict with all classifiers.

        Args:
            feats: See `all_logits`.
            data_samples: Data samples to write to, or None to make new ones.

        Returns:
            Data samples with the best classifier's ``pred_score`` and
            ``pred_label``, and with ``sweep_labels``: for each classifier,
            the labels by falling probability.
        """
        logits = self.all_logits(feats)
        samples = self._get_predictions(logits[self.best], data_samples)
        count = min(max(self.topk), self.num_classes)
        ranked = torch.stack(
            [scores.topk(count).indices for scores in logits.values()], dim=1
        ).cpu()
        for sample, labels in zip(samples, ranked, strict=True):
            pairs = dict(zip(self.names, labels, strict=True))
            sample.set_field(pairs, 'sweep_labels')
        return samples
