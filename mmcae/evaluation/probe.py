# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Probes on frozen features: logistic regression and nearest neighbors."""

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier


def label_subsets(
    num_samples: int, size: int, count: int = 5, seed: int = 0
) -> list[np.ndarray]:
    """Draw fixed random subsets of the training samples.

    The accuracy with 100 labels changes by several points from one subset to
    another, so all encoders must be compared on the same subsets.

    Args:
        num_samples: Number of training samples.
        size: Labels in a subset.
        count: Number of subsets; one is enough when all labels are used.
        seed: Seed of the draws.

    Returns:
        Index arrays, each ``(size,)``, without repetition.

    Raises:
        ValueError: If a subset is larger than the training set.
    """
    if size > num_samples:
        raise ValueError(
            f'{size} labels of {num_samples} samples: use fewer labels'
        )
    rng = np.random.default_rng(seed)
    if size == num_samples:
        return [np.arange(num_samples)]
    return [rng.choice(num_samples, size, replace=False) for _ in range(count)]


def standardize(
    train: np.ndarray, *others: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Shift and scale features by the statistics of ``train``.

    Otherwise a probe mostly compares the *spread* of features. The features of
    a random encoder have a small spread, which makes the trained encoder look
    better than it is.

    Args:
        train: Features, ``(N, D)``.
        *others: Further features, ``(*, D)``.

    Returns:
        All of them standardized, ``train`` first.
    """
    mean, std = train.mean(axis=0), train.std(axis=0) + 1e-6
    return tuple((x - mean) / std for x in (train, *others))


def logistic_accuracy(
    train: np.ndarray,
    train_labels: np.ndarray,
    test: np.ndarray,
    test_labels: np.ndarray,
    strength: float = 1.0,
) -> float:
    """Accuracy, 0 to 1, of logistic regression (``strength``: sklearn's C)."""
    model = LogisticRegression(C=strength, max_iter=2000)
    return float(model.fit(train, train_labels).score(test, test_labels))


def knn_accuracy(
    train: np.ndarray,
    train_labels: np.ndarray,
    test: np.ndarray,
    test_labels: np.ndarray,
    k: int = 5,
) -> float:
    """Accuracy, 0 to 1, of ``k`` nearest neighbors by cosine distance."""
    model = KNeighborsClassifier(k, metric='cosine')
    return float(model.fit(train, train_labels).score(test, test_labels))


def probe(
    train: np.ndarray,
    train_labels: np.ndarray,
    test: np.ndarray,
    test_labels: np.ndarray,
    num_labels: int,
    k: int = 5,
) -> dict[str, float]:
    """Measure frozen features with a limited number of labels.

    Args:
        train: Features of all training images, ``(N, D)``.
        train_labels: Their labels, ``(N,)``.
        test: Features of the test images, ``(T, D)``.
        test_labels: Their labels, ``(T,)``.
        num_labels: Number of training labels that a probe may use.
        k: Number of neighbors.

    Returns:
        ``logistic`` and ``knn``: accuracies (0 to 1), means over five fixed
        label subsets (one where all labels are used). Features are
        standardized with statistics of all training images.
    """
    train, test = standardize(train, test)
    scores: dict[str, list[float]] = dict(logistic=[], knn=[])
    for subset in label_subsets(len(train), num_labels):
        part = (train[subset], train_labels[subset], test, test_labels)
        scores['logistic'].append(logistic_accuracy(*part))
        scores['knn'].append(knn_accuracy(*part, k=k))
    return {name: float(np.mean(values)) for name, values in scores.items()}
