# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Evaluation of frozen features and of tokenizers."""

import mmcae.namespace_guard  # noqa: F401
from mmcae.utils.old_names import old_names

from .attentive import swept_attentive_accuracy
from .knn import knn_scores, knn_top1
from .probe import (
    knn_accuracy,
    label_subsets,
    logistic_accuracy,
    probe,
    standardize,
)
from .sweep_accuracy import SweepAccuracy
from .tokenizer_metric import TokenizerMetric

__all__ = [
    'SweepAccuracy',
    'TokenizerMetric',
    'knn_accuracy',
    'knn_scores',
    'knn_top1',
    'label_subsets',
    'logistic_accuracy',
    'probe',
    'standardize',
    'swept_attentive_accuracy',
]

__getattr__ = old_names(__name__, {'standardise': 'standardize'})
