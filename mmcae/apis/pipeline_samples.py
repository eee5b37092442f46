# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""What the training pipeline of a config feeds to the model."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

import mmcae.datasets  # noqa: F401
from mmcae.apis.image_views import shown_channels
from mmcae.apis.recorded_config import check_types, recorded_config
from mmcae.checkpoint.reading import read_checkpoint
from mmcae.config.search_path import find_config
from mmcae.datasets import SampleIndex
from mmcae.registry import DATASETS


@dataclass(frozen=True)
class PipelineSample:
    """One sample as the model gets it.

    Attributes:
        views: The views, RGB in [0, 1], each ``(H, W, 3)``: the encoder's
            and, in pretraining, the tokenizer's.
        mask: True where a patch is masked, ``(h, w)``. None without a mask.
        index: Index of the image in the dataset.
        epoch: The epoch, from 0.
        name: Name of the file, or an empty string.
    """

    views: tuple[np.ndarray, ...]
    mask: np.ndarray | None
    index: int
    epoch: int
    name: str = ''


def training_config(config: str | os.PathLike | Config) -> Config:
    """Read a config whose dataset is to be shown.

    Args:
        config: A config, its path, the name of a packaged config, or a
            checkpoint, which brings its config.

    Returns:
        The config.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it has no ``train_dataloader``.
    """
    cfg: Any = config
    if not isinstance(config, Config):
        path = Path(config).expanduser()
        if path.is_file() and path.suffix not in ('.py', '.json', '.yml'):
            cfg = recorded_config(read_checkpoint(path), str(path))
            if cfg is None:
                raise ValueError(f'{path} has no config: give the config')
            check_types(
                cfg.get('train_dataloader', {}).get('dataset'), str(path)
            )
        else:
            cfg = Config.fromfile(find_config(path))
    if not (cfg.get('train_dataloader') or {}).get('dataset'):
        raise ValueError(f'{config} has no train_dataloader with a dataset')
    return cfg


def pipeline_samples(
    config: str | os.PathLike | Config,
    indices: Sequence[int],
    epochs: Sequence[int] = (0,),
    seed: int | None = None,
) -> Iterator[PipelineSample]:
    """Run the training pipeline of a config on some images.

    The samples are those of a training run with the same seed: crops, flips
    and masks depend only on seed, epoch and index (with a sampler of mmcae).

    Args:
        config: See `training_config`.
        indices: Indices of images in the dataset.
        epochs: Epochs, from 0.
        seed: The run's seed. Defaults to that of the config, else 0.

    Yields:
        Samples, image by image.

    Raises:
        ValueError: If there is no such image.
    """
    cfg = training_config(config)
    loader = cfg.train_dataloader
    if seed is None:
        seed = (cfg.get('randomness') or {}).get('seed') or 0
    pool = (loader.get('sampler') or {}).get('view_pool', 0)
    scope = cfg.get('default_scope', 'mmpretrain')
    with DefaultScope.overwrite_default_scope(scope):
        dataset = DATASETS.build(loader.dataset)
        for index in indices:
            if not 0 <= index < len(dataset):
                raise ValueError(
                    f'there is no image {index}: the dataset has '
                    f'{len(dataset)}, counted from 0'
                )
            for epoch in epochs:
                np.random.seed(seed + epoch)  # transforms of other packages
                identity = SampleIndex(index, (seed, epoch, index), pool)
                yield _sample(dataset[identity], index, epoch)


def _sample(packed: dict, index: int, epoch: int) -> PipelineSample:
    inputs, sample = packed['inputs'], packed['data_samples']
    views = inputs if isinstance(inputs, list | tuple) else [inputs]
    mask = getattr(sample, 'mask', None)
    path = sample.metainfo.get('img_path') or ''
    return PipelineSample(
        views=tuple(_picture(view) for view in views),
        mask=None if mask is None else np.asarray(mask).astype(bool),
        index=index,
        epoch=epoch,
        name=os.path.basename(path),
    )


def _picture(view: torch.Tensor) -> np.ndarray:
    """Turn a view, color as BGR from 0 to 255, into RGB in [0, 1]."""
    pixels = view.permute(1, 2, 0).float().numpy() / 255
    if pixels.shape[2] == 3:
        pixels = pixels[..., ::-1]
    return np.ascontiguousarray(shown_channels(pixels)).clip(0, 1)
