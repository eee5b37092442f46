# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Weighted nearest neighbors."""

import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from mmcae.evaluation import knn_scores, knn_top1


@pytest.fixture
def features():
    generator = torch.Generator().manual_seed(0)
    centers = torch.randn(5, 16, generator=generator)
    labels = torch.randint(5, (400,), generator=generator)
    points = centers[labels] + torch.randn(400, 16, generator=generator)
    return points[:300], labels[:300], points[300:], labels[300:]


@pytest.mark.parametrize('k', [1, 5, 20])
def test_knn_scores__without_temperature_count_votes(features, k):
    train, train_labels, test, _ = features
    scores = knn_scores(train, train_labels, test, k, None, chunk=7)
    model = KNeighborsClassifier(k, metric='cosine')
    model.fit(train.numpy(), train_labels.numpy())
    shares = torch.from_numpy(model.predict_proba(test.numpy()))
    torch.testing.assert_close(scores.double() / k, shares)


def test_knn_scores__temperature_weighs_by_cosine(features):
    train, train_labels, test, _ = features
    scores = knn_scores(train, train_labels, test, 10, 0.1)
    cosine = torch.nn.functional.cosine_similarity(
        test[:, None], train[None], dim=2
    )
    expected = torch.zeros(len(test), 5)
    for row, values in enumerate(cosine):
        for index in values.argsort(descending=True)[:10]:
            weight = (values[index] / 0.1).exp()
            expected[row, train_labels[index]] += weight
    expected /= expected.sum(1, keepdim=True)
    torch.testing.assert_close(
        scores / scores.sum(1, keepdim=True), expected, rtol=1e-4, atol=1e-5
    )


def test_knn_top1__small_temperature_is_the_nearest_neighbor(features):
    sharp = knn_top1(*features, k=50, temperature=1e-4)
    assert sharp == knn_top1(*features, k=1)
    assert sharp > 0.5


def test_knn_scores__bad_arguments_are_named(features):
    train, train_labels, test, _ = features
    with pytest.raises(ValueError, match='k=301 neighbors, but there are 300'):
        knn_scores(train, train_labels, test, 301)
    with pytest.raises(ValueError, match='got 0'):
        knn_scores(train, train_labels, test, 5, 0)
