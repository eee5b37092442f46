# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""How many directions features really use (RankMe, arXiv 2210.02885)."""

import torch
from torch import Tensor


@torch.no_grad()
def rank_me(features: Tensor) -> float:
    """The effective rank of features: the exponential of an entropy.

    The entropy is that of the singular values, divided by their sum. Equal
    features have rank 1; features that use ``r`` directions equally have
    rank ``r``. RankMe needs no label, and predicts how good a linear probe
    will be (arXiv 2210.02885, section 3).

    Args:
        features: One row for each sample, ``(N, D)``.

    Returns:
        A number between 1 and ``min(N, D)``; 1 if all features are 0.

    Raises:
        ValueError: If there is no feature, or one is not finite.
    """
    if features.ndim != 2 or not features.numel():
        raise ValueError(
            f'features must be (N, D), got {tuple(features.shape)}'
        )
    if not features.isfinite().all():
        raise ValueError('a feature is not finite')
    values = torch.linalg.svdvals(features.double())
    shares = values / values.sum().clamp_min(torch.finfo(values.dtype).tiny)
    return torch.special.entr(shares).sum().exp().item()


@torch.no_grad()
def spread(features: Tensor) -> float:
    """How much features differ from each other, relative to their size.

    Args:
        features: One row for each sample, ``(N, D)``.

    Returns:
        The root of the mean variance over the samples, divided by the root
        mean square: 0 for equal features, 1 for features with mean 0.
    """
    features = features.double()
    variance = features.var(dim=0, correction=0).mean()
    return (variance / features.square().mean().clamp_min(1e-30)).sqrt().item()
