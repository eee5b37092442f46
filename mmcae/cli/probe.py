# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Measure an encoder on labeled images: one folder for each class.

    mmcae probe RUN/cae/epoch_150.pth FOLDER

The encoder stays as it is. Its features are classified by nearest neighbors
and by logistic regression, whose strength is chosen on a part of the training
images. A random encoder of the same sizes stands beside it, and the share of
the largest class. FOLDER has classes, which are split five times at random
(80 % to train), or train/CLASS and val/CLASS (or test/CLASS).
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HELP = 'measure an encoder on labeled images'

#: Strengths of logistic regression (scikit-learn's C) to choose from.
STRENGTHS = (0.001, 0.01, 0.1, 1.0, 10.0)
#: Random splits of a folder without a test set.
SPLITS = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb."""
    parser.add_argument('checkpoint', type=Path)
    parser.add_argument('folder', type=Path, help='a subfolder for each class')
    parser.add_argument(
        '--config',
        help='config of the checkpoint (default: the one in its folder)',
    )
    parser.add_argument(
        '--k', type=int, default=10, help='number of neighbors (default: 10)'
    )
    parser.add_argument(
        '--pool',
        choices=['mean', 'cls', 'both'],
        default='mean',
        help='feature of an image (default: the mean of the patch tokens)',
    )
    parser.add_argument(
        '--num-workers',
        type=int,
        default=0,
        help='processes that load images (default: 0)',
    )


def main(args: argparse.Namespace) -> None:
    """Print the table."""
    from mmcae.cli.quiet import quiet
    from mmcae.false_alarms import without_false_alarms

    with without_false_alarms():
        from mmcae.apis.folder_features import extract_folder
    folder = args.folder.expanduser()
    config = args.config or config_beside(args.checkpoint)
    parts = find_parts(folder)
    rows = {}
    for name, weights in (
        ('this encoder', str(args.checkpoint)),
        ('random encoder', 'random'),
    ):
        found = []
        for part in parts:
            with quiet():
                found.append(
                    extract_folder(
                        config,
                        weights,
                        part,
                        pool=args.pool,
                        crop_ratio=1.0,
                        num_workers=args.num_workers,
                    )
                )
        rows[name] = probe_rows(found, args.k)
        if name == 'this encoder':
            images = sum(len(item.features) for item in found)
            print(f'{images} images, {len(found[0].classes or ())} classes')
    print(f'{"accuracy in %":<18}{f"{args.k}-NN":<22}{"linear":<22}')
    for name, row in rows.items():
        print(f'{name:<18}{_cell(row["knn"]):<22}{_cell(row["linear"]):<22}')
    largest = rows['this encoder']['largest']
    print(f'{"largest class":<18}{_cell(largest):<22}')
    how = (
        'on the test images'
        if len(parts) == 2
        else (f'mean of {SPLITS} random splits [lowest to highest]')
    )
    print(f'({how})')


def config_beside(checkpoint: Path) -> Path:
    """The config that a run wrote into its work dir.

    Packaged weights, ``mmcae://NAME``, have the name of their config.

    Raises:
        FileNotFoundError: If there is no checkpoint, or not one config.
    """
    from mmcae.checkpoint.packaged import is_packaged
    from mmcae.config.search_path import find_config

    if is_packaged(checkpoint):
        return find_config(checkpoint.name)
    if not checkpoint.is_file():
        raise FileNotFoundError(f'there is no checkpoint {checkpoint}')
    found = sorted(checkpoint.parent.glob('*.py'))
    if len(found) != 1:
        raise FileNotFoundError(
            f'{checkpoint.parent} has {len(found)} configs; give --config'
        )
    return found[0]


def find_parts(folder: Path) -> list[Path]:
    """The folders of the training and the test images, or the one folder.

    Raises:
        FileNotFoundError: If there is no folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f'there is no folder {folder}')
    for name in ('val', 'test'):
        if (folder / 'train').is_dir() and (folder / name).is_dir():
            return [folder / 'train', folder / name]
    return [folder]


def probe_rows(found: list[Any], k: int) -> dict[str, list[float]]:
    """Accuracies of each split, from 0 to 1.

    Args:
        found: `FolderFeatures` of the training and the test images, or of
            all images.
        k: Number of neighbors; as many as there are, if there are fewer.

    Returns:
        ``knn``, ``linear`` and ``largest``, the share of the largest class.

    Raises:
        ValueError: If there are no labels, or the classes of two folders
            differ.
    """
    import numpy as np
    import torch

    from mmcae.evaluation import knn_top1
    from mmcae.evaluation.probe import standardize

    if any(item.labels is None or len(item.classes) < 2 for item in found):
        raise ValueError(
            'a probe needs two classes: the folder must have a subfolder for '
            'each class'
        )
    if found[0].classes != found[-1].classes:
        odd = sorted(set(found[0].classes) ^ set(found[-1].classes))
        raise ValueError(
            'the folders of training and test images must have the same '
            f'classes; only one has {", ".join(odd)}'
        )
    rows: dict[str, list[float]] = dict(knn=[], linear=[], largest=[])
    for arrays in _splits(found):
        train, labels, test, test_labels = arrays
        neighbors = min(k, len(train))
        x, y, x_test, y_test = map(torch.from_numpy, arrays)
        top1 = knn_top1(x, y, x_test, y_test, neighbors)
        rows['knn'].append(top1)
        train, test = standardize(train, test)
        accuracy = swept_accuracy(train, labels, test, test_labels)
        rows['linear'].append(accuracy)
        counts = np.bincount(test_labels)
        rows['largest'].append(float(counts.max() / counts.sum()))
    return rows


def swept_accuracy(
    train: Any, labels: Any, test: Any, test_labels: Any
) -> float:
    """Accuracy of logistic regression with the best of `STRENGTHS`.

    The strength is chosen on a quarter of the training images.
    """
    from sklearn.model_selection import train_test_split

    from mmcae.evaluation.probe import logistic_accuracy

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


def _splits(found: list[Any]) -> Iterator[tuple[Any, Any, Any, Any]]:
    if len(found) == 2:
        train, test = found
        yield train.features, train.labels, test.features, test.labels
        return
    from sklearn.model_selection import train_test_split

    features, labels = found[0].features, found[0].labels
    for seed in range(SPLITS):
        try:
            train, test, train_labels, test_labels = train_test_split(
                features,
                labels,
                test_size=0.2,
                random_state=seed,
                stratify=labels,
            )
        except ValueError as error:
            raise ValueError(
                f'the {len(labels)} images cannot be split into training and '
                f'test images of every class: {error}'
            ) from error
        yield train, train_labels, test, test_labels


def _cell(values: list[float]) -> str:
    mean = 100 * sum(values) / len(values)
    text = f'{mean:.1f}'
    if len(values) > 1:
        text += f' [{100 * min(values):.1f} to {100 * max(values):.1f}]'
    return text
