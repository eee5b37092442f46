# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Check that pipeline, encoder, and tokenizer of a pretraining fit together.

One image, made here, goes through the transforms, and the sizes that come out
are compared with those of the model. No image of the dataset is decoded.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config
from mmengine.model import is_model_wrapper
from torch import Tensor, nn

from mmcae.checkpoint.durable import FULL_DISK_ERRORS
from mmcae.config.check import ConfigError
from mmcae.config.key_paths import value_at, walk

#: Height and width of the made image: no crop of a recipe is larger.
_SIDES = 640, 480

#: Packages whose transforms can be asked to process an image of any content.
_CHECKED = ('mmcae', 'mmcv', 'mmpretrain')

#: Does not belong to the making of views: it needs the sample's stored tokens.
_SKIPPED = ('LoadTokens',)


class _Step(NamedTuple):
    """A transform: where it stands in the config, its dict, and itself."""

    path: str
    node: Any
    transform: Any

    def key(self, name: str) -> str:
        """The transform's argument in a message, with its value if given."""
        value = self.node.get(name) if hasattr(self.node, 'get') else None
        return self.path if value is None else f'{self.path}.{name}={value!r}'


def check_fit(cfg: Config, model: nn.Module) -> None:
    """Refuse a pretraining whose parts have different sizes.

    Only a `CAE` with pipelines of this package, mmcv and mmpretrain is
    checked.

    Args:
        cfg: The config.
        model: The model that was built from it.

    Raises:
        ConfigError: Names the key and the size that would fit.
    """
    # Not at the top: the models import mmpretrain, which takes seconds.
    from mmcae.models import CAE

    model = model.module if is_model_wrapper(model) else model  # type: ignore
    if not isinstance(model, CAE) or not cfg.get('train_dataloader'):
        return
    _check_encoder(cfg, model)
    for path, nodes in _pipelines(cfg):
        _check_pipeline(path, nodes, model)


def _check_encoder(cfg: Config, model: Any) -> None:
    sides, patch = model.backbone.img_size, _patch(model)
    if any(side % part for side, part in zip(sides, patch, strict=True)):
        size = value_at(cfg, 'model.backbone.img_size')
        raise ConfigError(
            f'model.backbone.img_size={size!r}: must be a multiple of '
            f'patch_size={_times(patch)}'
        )
    given = value_at(cfg, 'model.neck.in_channels')
    width = model.backbone.embed_dims
    if given not in (None, width):
        raise ConfigError(
            f'model.neck.in_channels={given!r}: must be {width}, the width of '
            'the encoder; leave it out'
        )


def _patch(model: Any) -> tuple[int, int]:
    return tuple(model.backbone.patch_embed.projection.stride)  # type: ignore


def _pipelines(cfg: Config) -> Iterator[tuple[str, Any]]:
    """Find the pipelines that load the training images."""
    for path, node in walk(cfg.train_dataloader, 'train_dataloader.'):
        if not isinstance(node, dict) or 'pipeline' not in node:
            continue
        if 'dataset' not in node and 'datasets' not in node:
            yield f'{path}.pipeline', node['pipeline']


def _check_pipeline(path: str, nodes: Any, model: Any) -> None:
    from mmcae.datasets.transforms.seeded import keep_global_rngs

    with keep_global_rngs():
        steps = list(_build(path, nodes))
        if any(
            type(step.transform).__module__.partition('.')[0] not in _CHECKED
            for step in steps
        ):
            return
        with tempfile.TemporaryDirectory() as folder:
            try:
                file = _image(Path(folder), steps)
            except OSError as error:
                if error.errno in FULL_DISK_ERRORS:
                    return  # a full disk is no mistake in the config
                raise
            made = _run(steps, file, path)
    _compare(made, path, model)


def _build(path: str, nodes: Any) -> Iterator[_Step]:
    from mmengine.registry import TRANSFORMS

    for number, node in enumerate(nodes):
        transform = TRANSFORMS.build(node) if isinstance(node, dict) else node
        if type(transform).__name__ not in _SKIPPED:
            yield _Step(f'{path}.{number}', node, transform)


def _image(folder: Path, steps: list[_Step]) -> str:
    """Make an image that the loading transform takes."""
    import numpy as np
    from PIL import Image

    from mmcae.datasets import LoadImage

    height, width = _SIDES
    for step in steps:
        loader = step.transform
        if isinstance(loader, LoadImage) and not loader.is_plain:
            file = folder / 'image.npy'
            # A ramp, because a range needs pixels that differ.
            ramp = np.linspace(0, 255, height * width).astype(np.uint8)
            pixels = ramp.reshape(height, width, 1)
            np.save(file, pixels.repeat(loader.channels, axis=2))
            return str(file)
    file = folder / 'image.png'
    Image.new('RGB', (width, height), 'gray').save(file)
    return str(file)


class _Made(NamedTuple):
    """What a pipeline returned, and which step made the views and the mask."""

    results: Any
    views: _Step | None
    mask: _Step | None


def _run(steps: list[_Step], file: str, path: str) -> _Made:
    from mmcae.datasets.sample_seed import SampleIndex

    results: Any = dict(
        img_path=file, sample_idx=SampleIndex(0, (0, 0, 0)), gt_label=0
    )
    views = mask = None
    for step in steps:
        had_mask = 'mask' in results
        try:
            results = step.transform(results)
        except Exception as error:
            name = type(step.transform).__name__
            reason = (
                f'no earlier transform gives {error}'
                if isinstance(error, KeyError)
                else str(error) or type(error).__name__
            )
            raise ConfigError(
                f'{step.path}: {name} cannot process the result of the '
                f'transforms before it: {reason}'
            ) from error
        if not isinstance(results, dict):
            break
        if isinstance(results.get('img'), list) and views is None:
            views = step
        if 'mask' in results and not had_mask:
            mask = step
    if 'inputs' not in (results or ()):
        needed = '' if steps else 'mmcae.LoadImage, ... and '
        raise ConfigError(
            f'{path}: its last transform must be {needed}'
            'mmpretrain.PackInputs, which makes the batch of the model'
        )
    return _Made(results, views, mask)


def _compare(made: _Made, path: str, model: Any) -> None:
    inputs = made.results['inputs']
    sample = made.results.get('data_samples')
    views = inputs if isinstance(inputs, list) else [inputs]
    image = views[0]
    if not isinstance(image, Tensor) or image.ndim != 3:
        return
    _compare_image(image, made.views, path, model)
    grid = model.backbone.grid(image[None])
    _compare_mask(getattr(sample, 'mask', None), made.mask, path, grid)
    if len(views) > 1:
        _compare_view(views[1], made.views, path, grid, model)


def _compare_image(
    image: Tensor, step: _Step | None, path: str, model: Any
) -> None:
    key = step.key('size') if step else path
    channels, *sides = image.shape
    wanted = model.backbone.patch_embed.projection.in_channels
    if channels != wanted:
        raise ConfigError(
            f'model.backbone.in_channels={wanted}: must be {channels}, the '
            'channels of the images'
        )
    patch = _patch(model)
    if any(side % part for side, part in zip(sides, patch, strict=True)):
        raise ConfigError(
            f'{key}: the images of {_times(sides)} pixels cannot be cut into '
            f'patches of {_times(patch)} (model.backbone.patch_size); give '
            'a multiple of that'
        )
    own = tuple(model.backbone.img_size)
    if tuple(sides) != own:
        raise ConfigError(
            f'{key}: the images have {_times(sides)} pixels, and the encoder '
            f'is made for {_times(own)} (model.backbone.img_size); make them '
            'equal'
        )


def _compare_mask(
    mask: Any, step: _Step | None, path: str, grid: tuple[int, int]
) -> None:
    if mask is None:
        raise ConfigError(
            f'{path}: no transform gives a mask; put '
            'mmcae.BlockMaskGenerator before mmpretrain.PackInputs'
        )
    shape, total = tuple(mask.shape), grid[0] * grid[1]
    if shape not in (grid, (total,)):
        raise ConfigError(
            f'{step.key("input_size") if step else path}: the mask has '
            f'{_times(shape)} patches, and the image {_times(grid)} '
            '(its pixels divided by model.backbone.patch_size)'
        )
    masked = int(mask.sum())
    if not 0 < masked < total:
        raise ConfigError(
            f'{step.key("num_masking_patches") if step else path}: masks '
            f'{masked} of {total} patches; must be a whole number from 1 to '
            f'{total - 1}'
        )


def _compare_view(
    view: Tensor,
    step: _Step | None,
    path: str,
    grid: tuple[int, int],
    model: Any,
) -> None:
    channels = getattr(model.target_generator, 'in_channels', None)
    if isinstance(channels, int) and channels != len(view):
        raise ConfigError(
            f'model.target_generator.in_channels={channels}: must be '
            f'{len(view)}, the channels of the images'
        )
    factor = getattr(model.target_generator, 'downsample', None)
    if not isinstance(factor, int):
        return
    wanted = tuple(side * factor for side in grid)
    if tuple(view.shape[-2:]) != wanted:
        raise ConfigError(
            f'{step.key("second_size") if step else path}: the tokenizer gets '
            f'{_times(view.shape[-2:])} pixels, and needs {_times(wanted)}: '
            f'{factor} x {factor} for each of the {_times(grid)} patches'
        )


def _times(sides: Any) -> str:
    return ' x '.join(map(str, sides))
