# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Evaluation of frozen features."""

from .probe import (
    knn_accuracy,
    label_subsets,
    logistic_accuracy,
    probe,
    standardise,
)

__all__ = [
    'knn_accuracy',
    'label_subsets',
    'logistic_accuracy',
    'probe',
    'standardise',
]
