# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Weighted nearest neighbors on cached features (DINO, arXiv 2104.14294)."""

import torch
import torch.nn.functional as F
from torch import Tensor


@torch.no_grad()
def knn_scores(
    train: Tensor,
    train_labels: Tensor,
    test: Tensor,
    k: int = 20,
    temperature: float | None = 0.07,
    num_classes: int | None = None,
    chunk: int = 256,
) -> Tensor:
    """Let the ``k`` most similar training samples vote for a class.

    Args:
        train: Features, ``(N, D)``.
        train_labels: Their classes, int64, ``(N,)``.
        test: Features, ``(T, D)``.
        k: Number of neighbors.
        temperature: The weight of a vote is ``exp(cosine / temperature)``.
            With None, all votes have the same weight.
        num_classes: Number ``C`` of classes. Defaults to the largest label
            plus one.
        chunk: Number of test samples that are compared at once.

    Returns:
        Votes, ``(T, C)``.

    Raises:
        ValueError: If there are fewer training samples than neighbors, or
            the temperature is not positive.
    """
    if not 1 <= k <= len(train):
        raise ValueError(
            f'k={k} neighbors, but there are {len(train)} samples'
        )
    if temperature is not None and temperature <= 0:
        raise ValueError(f'temperature must be positive, got {temperature}')
    num_classes = num_classes or int(train_labels.max()) + 1
    train = F.normalize(train.float(), dim=1)
    scores = []
    for part in F.normalize(test.float(), dim=1).split(chunk):
        similarity, index = (part @ train.T).topk(k, dim=1)
        weight = torch.ones_like(similarity)
        if temperature is not None:
            # Relative to the nearest, so that exp cannot overflow.
            weight = ((similarity - similarity[:, :1]) / temperature).exp()
        votes = part.new_zeros(len(part), num_classes)
        scores.append(votes.scatter_add_(1, train_labels[index], weight))
    return torch.cat(scores)


def knn_top1(
    train: Tensor,
    train_labels: Tensor,
    test: Tensor,
    test_labels: Tensor,
    k: int = 20,
    temperature: float | None = 0.07,
) -> float:
    """Compute the accuracy of `knn_scores`, 0 to 1."""
    num_classes = int(torch.cat([train_labels, test_labels]).max()) + 1
    scores = knn_scores(train, train_labels, test, k, temperature, num_classes)
    return (scores.argmax(dim=1) == test_labels).float().mean().item()
