# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Probes of an encoder on folders of labeled images."""

import sys
from collections.abc import Callable, Iterator

import numpy as np
import torch
from sklearn.model_selection import train_test_split

from mmcae.apis.folder_features import FolderFeatures
from mmcae.evaluation import knn_top1, swept_attentive_accuracy
from mmcae.evaluation.probe import logistic_accuracy, standardize
from mmcae.models import AttentiveProbeHead

#: Strengths of logistic regression (scikit-learn's C) to choose from.
STRENGTHS = (0.001, 0.01, 0.1, 1.0, 10.0)
#: Random splits of a folder without a test set.
SPLITS = 5


def probe_rows(
    found: list[FolderFeatures],
    k: int,
    tokens: np.ndarray | None = None,
    seed: int = 0,
    title: str = '',
) -> dict[str, list[float]]:
    """Accuracies of each split, from 0 to 1.

    Args:
        found: `FolderFeatures` of the training and the test images, or of
            all images.
        k: Number of neighbors; as many as there are, if there are fewer.
        tokens: ``(N, 1 + L, D)`` of all images, for the attentive probe.
        seed: Of the random splits.
        title: Printed on a terminal before each attentive probe.

    Returns:
        ``knn``, ``linear``, ``largest`` (the share of the largest class), and
        ``attentive`` if there are tokens.

    Raises:
        ValueError: If there are no labels, or the classes of two folders
            differ.
    """
    classes = [item.classes or [] for item in found]
    given = [item.labels for item in found if item.labels is not None]
    if len(given) < len(found) or any(len(names) < 2 for names in classes):
        raise ValueError(
            'a probe needs two classes: the folder must have a subfolder for '
            'each class'
        )
    if classes[0] != classes[-1]:
        odd = sorted(set(classes[0]) ^ set(classes[-1]))
        raise ValueError(
            'the folders of training and test images must have the same '
            f'classes; only one has {", ".join(odd)}'
        )
    features = np.concatenate([item.features for item in found])
    labels = np.concatenate(given)
    splits = _random_splits(labels, seed)
    if len(found) == 2:
        splits = iter([np.split(np.arange(len(labels)), [len(given[0])])])
    rows: dict[str, list[float]] = dict(knn=[], linear=[], largest=[])
    for number, (train, test) in enumerate(splits, 1):
        arrays = features[train], labels[train], features[test], labels[test]
        x, y, x_test, y_test = map(torch.from_numpy, arrays)
        neighbors = min(k, len(train))
        rows['knn'].append(knn_top1(x, y, x_test, y_test, neighbors))
        fit, held = standardize(arrays[0], arrays[2])
        accuracy = swept_accuracy(fit, labels[train], held, labels[test])
        rows['linear'].append(accuracy)
        counts = np.bincount(labels[test])
        rows['largest'].append(float(counts.max() / counts.sum()))
        if tokens is None:
            continue
        if title and sys.stderr.isatty():
            print(f'{title}: attentive probe {number}', file=sys.stderr)
        rows.setdefault('attentive', []).append(
            swept_attentive_accuracy(
                _head_maker(tokens.shape[-1], len(classes[0])),
                tokens,
                labels,
                train,
                test,
                device='cuda' if torch.cuda.is_available() else 'cpu',
            )
        )
    return rows


def _head_maker(
    width: int, num_classes: int
) -> Callable[[], AttentiveProbeHead]:
    """Make attentive heads; 32 channels for each attention head."""

    def make() -> AttentiveProbeHead:
        heads = width // 32 if width % 32 == 0 else 1
        head = AttentiveProbeHead(num_classes, width, heads)
        head.init_weights()
        return head

    return make


def swept_accuracy(
    train: np.ndarray,
    labels: np.ndarray,
    test: np.ndarray,
    test_labels: np.ndarray,
) -> float:
    """Accuracy of logistic regression with the best of `STRENGTHS`.

    The strength is chosen on a quarter of the training images.
    """
    fit, held, fit_labels, held_labels = train_test_split(
        train, labels, test_size=0.25, random_state=0
    )
    if len(set(fit_labels.tolist())) < 2:
        best = 1.0
    else:
        best = max(
            STRENGTHS,
            key=lambda c: logistic_accuracy(
                fit, fit_labels, held, held_labels, c
            ),
        )
    return logistic_accuracy(train, labels, test, test_labels, best)


def _random_splits(
    labels: np.ndarray, seed: int
) -> Iterator[list[np.ndarray]]:
    """Indices of the training and of the test images."""
    for number in range(SPLITS):
        try:
            split = train_test_split(
                np.arange(len(labels)),
                test_size=0.2,
                random_state=seed + number,
                stratify=labels,
            )
        except ValueError as error:
            raise ValueError(
                f'the {len(labels)} images cannot be split into training and '
                f'test images of every class: {error}'
            ) from error
        yield split
