# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Measure while an encoder trains how much its features are worth."""

import os
from typing import Any

import numpy as np
import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from torch import Tensor

from mmcae.apis.features import extract_features
from mmcae.checkpoint.unwrap import unwrap
from mmcae.config.check import ConfigError
from mmcae.datasets import FolderDataset
from mmcae.evaluation.probe import probe
from mmcae.registry import HOOKS

from ..random_state import preserved_random_state


@HOOKS.register_module()
class OnlineProbeHook(Hook):
    """Probes the encoder with a small labeled folder, again and again.

    The class of an image is its folder below ``root``. The features are means
    over the patches of center crops, without augmentation. The log gets the
    accuracies of nearest neighbors and of a logistic regression in percent,
    ``probe_knn`` and ``probe_linear``; an image is used either to fit or to
    test. No number of the training changes.

    With several processes, the first one measures while the others wait. So
    the folder should be small.

    Args:
        root: Folder with one folder of images for each class.
        interval: Iterations between two measurements; there is also one
            before the first iteration.
        size: Side of the crops, in pixels. Defaults to the encoder's.
        max_images: How many images are used at most, spread evenly over the
            sorted list of files.
        k: Number of neighbors.
        batch_size: Images that are encoded at once.

    Raises:
        ConfigError: Before training, if the folder has fewer than two classes
            or too few images.
    """

    priority = 'NORMAL'  # before the logger

    def __init__(
        self,
        root: str,
        interval: int = 1000,
        size: int | None = None,
        max_images: int = 1000,
        k: int = 5,
        batch_size: int = 64,
    ) -> None:
        self.root = root
        self.interval = interval
        self.size = size
        self.max_images = max_images
        self.k = k
        self.batch_size = batch_size

    def before_train(self, runner: Any) -> None:
        """Load the images; measure the encoder as it is."""
        model = unwrap(runner.model)
        if not hasattr(model, 'extract_feat'):
            raise ConfigError(
                'OnlineProbeHook needs a model with extract_feat, not '
                f'{type(model).__name__}'
            )
        if not is_main_process():
            return
        size = self.size or _side(model)
        with preserved_random_state():
            self._images, self._labels = load_labeled(
                self.root, size, self.max_images, self.k
            )
        self._measure(runner, runner.iter)

    def after_train_iter(
        self,
        runner: Any,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict | None = None,
    ) -> None:
        """Measure if it is time."""
        due = self.every_n_train_iters(runner, self.interval)
        if is_main_process() and (due or self.is_last_train_iter(runner)):
            self._measure(runner, runner.iter + 1)

    def _measure(self, runner: Any, done: int) -> None:
        model = unwrap(runner.model)
        batches = (
            dict(inputs=[part, part], data_samples=[None] * len(part))
            for part in self._images.split(self.batch_size)
        )
        with preserved_random_state():
            features = extract_features(model, batches).numpy()
            train = np.arange(len(features)) % 2 == 0
            labels = self._labels
            found = probe(
                features[train].astype(np.float64),
                labels[train],
                features[~train].astype(np.float64),
                labels[~train],
                num_labels=int(train.sum()),
                k=self.k,
            )
        hub = runner.message_hub
        hub.update_scalar('train/probe_knn', 100 * found['knn'])
        hub.update_scalar('train/probe_linear', 100 * found['logistic'])
        runner.logger.info(
            f'Probe after {done:,} iterations: '
            f'{100 * found["knn"]:.1f} % {self.k} nearest neighbors, '
            f'{100 * found["logistic"]:.1f} % logistic regression '
            f'({len(np.unique(labels))} classes, {train.sum()} images to fit, '
            f'{(~train).sum()} to test)'
        )


def _side(model: Any) -> int:
    size = getattr(model.backbone, 'img_size', 224)
    return min(size) if isinstance(size, list | tuple) else int(size)


def load_labeled(
    root: str, size: int, max_images: int, k: int
) -> tuple[Tensor, np.ndarray]:
    """Load center crops and the names of their folders.

    Args:
        root: Folder with one folder of images for each class.
        size: Side of the crops.
        max_images: How many images are taken at most.
        k: Number of neighbors, which the images must suffice for.

    Returns:
        Images as uint8, ``(N, 3, size, size)``, and classes, ``(N,)``.

    Raises:
        ConfigError: If there are too few classes or images.
    """
    if not os.path.isdir(root):
        raise ConfigError(f'OnlineProbeHook.root: {root} is not a folder')
    backend = dict(backend='pillow', interpolation='bicubic')
    dataset = FolderDataset(
        root,
        test_mode=True,
        pipeline=[
            dict(type='mmcae.LoadImage'),
            dict(
                type='mmpretrain.ResizeEdge',
                scale=size,
                edge='short',
                **backend,
            ),
            dict(type='mmpretrain.CenterCrop', crop_size=size),
            dict(type='mmpretrain.PackInputs'),
        ],
    )
    paths = [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]
    names = [os.path.relpath(path, root).split(os.sep)[0] for path in paths]
    inside = [os.path.dirname(os.path.relpath(p, root)) != '' for p in paths]
    if not all(inside) or len(set(names)) < 2:
        raise ConfigError(
            f'OnlineProbeHook.root: {root} needs one folder of images for '
            f'each class, found {len(set(names))} folders'
        )
    step = max(1, -(-len(paths) // max_images))
    chosen = range(0, len(paths), step)
    if len(chosen) // 2 < k:
        raise ConfigError(
            f'OnlineProbeHook.root: {root} has {len(paths)} images, too few '
            f'for {k} neighbors'
        )
    images = torch.stack([dataset[i]['inputs'] for i in chosen])
    classes = sorted(set(names))
    return images, np.array([classes.index(names[i]) for i in chosen])
