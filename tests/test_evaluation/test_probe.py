# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Probes on features whose answers are known."""

import numpy as np
import pytest

from mmcae.evaluation import (
    knn_accuracy,
    label_subsets,
    logistic_accuracy,
    probe,
    standardize,
)


@pytest.fixture
def clusters():
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(4, 8)) * 3

    def draw(count):
        labels = rng.integers(4, size=count)
        return centers[labels] + rng.normal(size=(count, 8)), labels

    return (*draw(200), *draw(100))


def test_label_subsets__are_fixed_and_have_no_repetition():
    one, two = (label_subsets(50, 10) for _ in range(2))
    assert len(one) == 5
    assert all((a == b).all() for a, b in zip(one, two, strict=True))
    assert all(len(set(subset)) == 10 for subset in one)
    assert not (one[0] == one[1]).all()
    (everything,) = label_subsets(50, 50)
    assert (everything == np.arange(50)).all()


def test_label_subsets__more_labels_than_samples_raise():
    with pytest.raises(ValueError, match='60 labels of 50 samples'):
        label_subsets(50, 60)


def test_standardize__uses_statistics_of_the_first():
    train = np.array([[0.0, 10.0], [2.0, 30.0]])
    test = np.array([[1.0, 40.0]])
    train, test = standardize(train, test)
    np.testing.assert_allclose(train, [[-1, -1], [1, 1]], atol=1e-5)
    np.testing.assert_allclose(test, [[0, 2]], atol=1e-5)


def test_accuracies__of_separable_and_of_shuffled_labels(clusters):
    train, train_labels, test, test_labels = clusters
    for accuracy in (logistic_accuracy, knn_accuracy):
        assert accuracy(train, train_labels, test, test_labels) > 0.95
        shuffled = np.random.default_rng(1).permutation(train_labels)
        assert accuracy(train, shuffled, test, test_labels) < 0.5


def test_probe__does_not_depend_on_the_features_scale(clusters):
    train, train_labels, test, test_labels = clusters
    scores = probe(train, train_labels, test, test_labels, num_labels=40)
    tiny = probe(
        train * 1e-2 + 5, train_labels, test * 1e-2 + 5, test_labels, 40
    )
    assert set(scores) == {'logistic', 'knn'}
    for name, value in scores.items():
        assert value > 0.9
        assert abs(value - tiny[name]) < 0.02


def test_probe__is_the_mean_over_the_fixed_subsets(clusters):
    train, train_labels, test, test_labels = clusters
    scores = probe(train, train_labels, test, test_labels, num_labels=40)
    one, two = standardize(train, test)
    each = [
        knn_accuracy(one[s], train_labels[s], two, test_labels)
        for s in label_subsets(200, 40)
    ]
    assert scores['knn'] == pytest.approx(np.mean(each))


def test_probe__of_an_image_does_not_depend_on_the_other_images(clusters):
    train, train_labels, test, test_labels = clusters
    test, test_labels = test[:10], test_labels[:10]
    together = probe(train, train_labels, test, test_labels, 200)
    alone = [
        probe(
            train, train_labels, test[i : i + 1], test_labels[i : i + 1], 200
        )
        for i in range(10)
    ]
    for name in together:
        mean = np.mean([scores[name] for scores in alone])
        assert together[name] == pytest.approx(mean)
