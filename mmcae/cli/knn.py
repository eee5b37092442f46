# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Classify features by their nearest neighbors.

    mmcae knn TRAIN TEST --k 10 20 --temperature 0.07

Both files come from `mmcae extract`, and from folders that have one subfolder
for each class.
"""

import argparse
from pathlib import Path

HELP = 'classify features by their nearest neighbors'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb."""
    parser.add_argument('train', type=Path, help='features to compare with')
    parser.add_argument('test', type=Path, help='features to classify')
    parser.add_argument(
        '--k',
        type=int,
        nargs='+',
        default=[10, 20],
        help='numbers of neighbors (default: 10 20)',
    )
    parser.add_argument(
        '--temperature',
        type=float,
        default=0.07,
        help='temperature of the votes (default: 0.07); with 0, all '
        'neighbors have the same weight',
    )


def main(args: argparse.Namespace) -> None:
    """Print the accuracy for each number of neighbors."""
    import torch

    from mmcae.evaluation import knn_top1
    from mmcae.evaluation.feature_file import read_features

    train, train_names = read_features(args.train)
    test, test_names = read_features(args.test)
    index = {n: i for i, n in enumerate(sorted({*train_names, *test_names}))}
    train_labels, test_labels = (
        torch.tensor([index[name] for name in names])
        for names in (train_names, test_names)
    )
    print(
        f'{len(train)} training and {len(test)} test samples, '
        f'{len(index)} classes, {train.shape[1]} numbers each'
    )
    for k in args.k:
        top1 = knn_top1(
            train, train_labels, test, test_labels, k, args.temperature or None
        )
        print(f'{k}-NN, temperature {args.temperature}: {100 * top1:.2f} %')
