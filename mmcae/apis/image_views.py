# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Make of an image what the model of a checkpoint reads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from mmpretrain.structures import DataSample
from torch import Tensor

from mmcae.apis.image_input import ImageLike, read_image
from mmcae.apis.loading import LoadedModel
from mmcae.config.pipelines import training_transform
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
        channels: Channels of the images.
        value_range: As of `mmcae.LoadImage` in training.
    """

    size: tuple[int, int]
    grid: tuple[int, int]
    second_size: tuple[int, int]
    filters: tuple[str, str]
    fit: str
    channels: int = 3
    value_range: Any = None

    def read(self, image: ImageLike) -> np.ndarray:
        """Read an image with the channels and the range of training."""
        return read_image(image, self.channels, self.value_range)

    def place(self, image: np.ndarray) -> Placement:
        """Choose the part of an image ``(H, W, C)`` that the model sees."""
        height, width = image.shape[:2]
        box = (0, 0, height, width)
        if self.fit == 'crop':
            scale = min(height / self.size[0], width / self.size[1])
            h = max(1, min(height, round(self.size[0] * scale)))
            w = max(1, min(width, round(self.size[1] * scale)))
            box = ((height - h) // 2, (width - w) // 2, h, w)
        return Placement(box, self.size, self.grid)

    def views(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Resize an image to both views, ``(h, w, C)``."""
        part = crop(image, self.place(image).box)
        first, second = (
            resize(part, size, name).reshape(*size, image.shape[2])
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
    resized = training_transform(loaded.config, 'TwoView')
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
        **loading_settings(
            loaded.config, backbone.patch_embed.projection.in_channels
        ),
    )


def loading_settings(
    config: Mapping[str, Any], channels: int = 3
) -> dict[str, Any]:
    """How the images of a training were loaded.

    Args:
        config: The config of the training.
        channels: Channels of the model.

    Returns:
        ``channels`` and ``value_range``, as for `mmcae.LoadImage`.
    """
    found = training_transform(config, 'LoadImage')
    return dict(
        channels=channels, value_range=found.get('value_range') or None
    )


def shown_channels(pixels: np.ndarray) -> np.ndarray:
    """Choose the channels that a picture shows; see `channels_note`.

    Args:
        pixels: ``(..., C)``.

    Returns:
        Color, ``(..., 3)``.
    """
    if pixels.shape[-1] < 3:
        return pixels[..., :1].repeat(3, axis=-1)
    return pixels[..., :3]


def picture_of(view: np.ndarray) -> np.ndarray:
    """Turn a view ``(H, W, C)`` from 0 to 255 into a picture, 8-bit color."""
    shown = shown_channels(view)
    if shown.dtype == np.uint8:
        return shown
    return np.rint(shown).clip(0, 255).astype(np.uint8)


def channels_note(channels: int) -> str:
    """Say which channels the pictures show; empty for color."""
    if channels == 3:
        return ''
    if channels < 3:
        return f'the pictures show channel 1 of {channels} as gray'
    return (
        f'the pictures show channels 1, 2 and 3 of {channels} as red, green '
        'and blue'
    )


def prepare(
    loaded: LoadedModel, views: Sequence[tuple[np.ndarray, np.ndarray]]
) -> list[Tensor]:
    """Normalize views as in training.

    Args:
        loaded: The model.
        views: Both views of each image, ``(h, w, C)``, color as RGB.

    Returns:
        The encoder's images ``(B, C, H, W)``; for a CAE, also those for the
        tokenizer ``(B, C, H', W')``.
    """
    # The pipelines give color as BGR; the preprocessor turns it into what the
    # model was trained with. Other channels keep their order.
    inputs = [
        torch.from_numpy(
            np.stack([_as_loaded(view[number]) for view in views])
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


def _as_loaded(view: np.ndarray) -> np.ndarray:
    return view[..., ::-1] if view.shape[-1] == 3 else view
