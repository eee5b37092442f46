# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Make of an image what the model of a checkpoint reads."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from mmpretrain.structures import DataSample
from torch import Tensor

from mmcae.apis.loading import LoadedModel
from mmcae.datasets.transforms.resize import crop, resize, to_pair

FITS = ('crop', 'stretch')


@dataclass(frozen=True)
class Placement:
    """Which part of an image the model sees, and at which size.

    Attributes:
        box: Top, left, height and width of the part, in pixels of the image.
        size: Height and width of the encoder's view.
        grid: Rows and columns of the patch grid.
    """

    box: tuple[int, int, int, int]
    size: tuple[int, int]
    grid: tuple[int, int]


@dataclass(frozen=True)
class ViewMaker:
    """Makes the views of an image: for the encoder and for the tokenizer.

    Attributes:
        size: Height and width of the encoder's view.
        grid: Rows and columns of the patch grid.
        second_size: Height and width of the tokenizer's view.
        filters: Names of the resampling filters of both views.
        fit: ``'crop'`` keeps the aspect ratio and takes the center of the
            image, ``'stretch'`` takes the whole image.
    """

    size: tuple[int, int]
    grid: tuple[int, int]
    second_size: tuple[int, int]
    filters: tuple[str, str]
    fit: str

    def place(self, image: np.ndarray) -> Placement:
        """Choose the part of an image ``(H, W, 3)`` that the model sees."""
        height, width = image.shape[:2]
        box = (0, 0, height, width)
        if self.fit == 'crop':
            scale = min(height / self.size[0], width / self.size[1])
            h = max(1, min(height, round(self.size[0] * scale)))
            w = max(1, min(width, round(self.size[1] * scale)))
            box = ((height - h) // 2, (width - w) // 2, h, w)
        return Placement(box, self.size, self.grid)

    def views(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Resize an image to both views, RGB, uint8."""
        part = crop(image, self.place(image).box)
        first, second = (
            resize(part, size, name)
            for size, name in zip(
                (self.size, self.second_size), self.filters, strict=True
            )
        )
        return first, second


def view_maker(
    loaded: LoadedModel,
    size: int | Sequence[int] | None = None,
    fit: str | None = None,
) -> ViewMaker:
    """Find out how the images of a model were prepared in training.

    Args:
        loaded: The model and its config.
        size: Another size of the encoder's view: one number or ``(height,
            width)``. The positions are then interpolated.
        fit: See `ViewMaker`. Defaults to ``'stretch'`` if the config resizes
            whole images, else to ``'crop'``.

    Raises:
        ValueError: If the patch size does not divide the size.
    """
    backbone: Any = loaded.backbone
    wanted = to_pair(
        tuple(backbone.img_size) if size is None else size, 'size'
    )
    patch = to_pair(tuple(backbone.patch_embed.projection.stride), 'patch')
    if any(side % step for side, step in zip(wanted, patch, strict=True)):
        raise ValueError(
            f'size={wanted[0]}x{wanted[1]} is not a multiple of the patch '
            f'size, {patch[0]}x{patch[1]}'
        )
    grid = (wanted[0] // patch[0], wanted[1] // patch[1])
    resized = _resizing_transform(loaded.config)
    if fit is None:
        whole = 'TwoViewResize' in str(resized.get('type'))
        fit = 'stretch' if whole else 'crop'
    if fit not in FITS:
        raise ValueError(f'fit must be one of {FITS}, got {fit!r}')
    side = getattr(loaded.tokenizer, 'downsample', None) or 8
    return ViewMaker(
        size=wanted,
        grid=grid,
        second_size=(grid[0] * side, grid[1] * side),
        filters=(
            resized.get('interpolation', 'bicubic'),
            resized.get('second_interpolation', 'lanczos'),
        ),
        fit=fit,
    )


def prepare(
    loaded: LoadedModel, views: Sequence[tuple[np.ndarray, np.ndarray]]
) -> list[Tensor]:
    """Normalize views as in training.

    Args:
        loaded: The model.
        views: Both views of each image, RGB, uint8.

    Returns:
        The encoder's images ``(B, 3, H, W)``; for a CAE, also those for the
        tokenizer ``(B, 3, H', W')``.
    """
    # The pipelines give BGR; the preprocessor turns it into what the model
    # was trained with.
    inputs = [
        torch.from_numpy(
            np.stack([view[number][..., ::-1] for view in views])
        ).permute(0, 3, 1, 2)
        for number in range(2)
    ]
    preprocessor: Any = loaded.model.data_preprocessor
    samples = [DataSample() for _ in views]
    if hasattr(loaded.model, 'neck') and hasattr(loaded.model.neck, 'regress'):
        batch = preprocessor(dict(inputs=inputs, data_samples=samples))
        return list(batch['inputs'])
    batch = preprocessor(dict(inputs=inputs[0], data_samples=samples))
    return [batch['inputs']]


def _resizing_transform(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The transform of the training pipeline that makes two views."""
    loader = config.get('train_dataloader') or {}
    dataset = loader.get('dataset') or {}
    for part in _pipelines(dataset):
        for transform in part:
            if 'TwoView' in str(transform.get('type')):
                return transform
    return {}


def _pipelines(dataset: Any) -> Iterator[Any]:
    """The pipelines of a dataset and of those that it wraps."""
    if isinstance(dataset, list | tuple):
        for item in dataset:
            yield from _pipelines(item)
    elif isinstance(dataset, Mapping):
        if dataset.get('pipeline'):
            yield dataset['pipeline']
        yield from _pipelines(dataset.get('dataset'))
        yield from _pipelines(dataset.get('datasets'))
