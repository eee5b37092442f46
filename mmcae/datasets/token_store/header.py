# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Describe in plain JSON what the visual tokens of a run depend on."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from mmcae.checkpoint.digest import weights_digest
from mmcae.config.check import ConfigError

from ..inner_datasets import inner_datasets
from ..samplers import SeededInfiniteSampler, SeededSampler
from ..transforms.target_view import (
    changes_target_view,
    is_of_mmcae,
    target_view_settings,
)
from ..transforms.two_view_transform import TwoViewTransform
from .store import FORMAT

_MAX_VOCAB = 1 << 16  # a token is a uint16
_SIZES_LOOKED_AT = 1000


def run_header(
    dataset: Any,
    sampler: Any,
    tokenizer: Any,
    data_preprocessor: Any,
) -> dict:
    """Describe everything that the tokens of a run depend on.

    Two runs with equal headers have equal tokens for each
    ``(epoch or slot, index)``. The header does not contain the encoder, its
    image size, the masks, the batch size, the workers and the schedule.

    Args:
        dataset: The training data.
        sampler: The sampler of the training data.
        tokenizer: The target generator, with its weights loaded.
        data_preprocessor: The data preprocessor, which normalizes the
            tokenizer's view.

    Returns:
        Plain JSON values.

    Raises:
        ConfigError: If tokens of this run cannot be stored.
    """
    if not isinstance(sampler, SeededSampler | SeededInfiniteSampler):
        raise ConfigError(
            f'token_store: {type(sampler).__name__} does not say which view '
            'of an image a sample is; set train_dataloader.sampler.type to '
            "'mmcae.SeededSampler' (or SeededInfiniteSampler)"
        )
    views, second_size = describe_views(dataset)
    return dict(
        format=FORMAT,
        tokenizer=describe_tokenizer(tokenizer),
        pixels=_describe_pixels(data_preprocessor),
        views=views,
        dataset=describe_images(dataset),
        grid=[side // tokenizer.downsample for side in second_size],
        seed=int(sampler.seed),
        view_pool=sampler.view_pool,
    )


def describe_tokenizer(tokenizer: Any) -> dict:
    """Describe a tokenizer by its tensors; their file does not matter.

    Args:
        tokenizer: The target generator.

    Raises:
        ConfigError: If it has no ``vocab_size`` or no ``downsample``, or a
            token does not fit into 16 bits.
    """
    name = type(tokenizer).__name__
    for key in ('vocab_size', 'downsample'):
        if not isinstance(getattr(tokenizer, key, None), int):
            raise ConfigError(
                f'token_store: the tokenizer {name} has no number {key!r}'
            )
    if tokenizer.vocab_size > _MAX_VOCAB:
        raise ConfigError(
            f'token_store: {tokenizer.vocab_size} codes of {name} do not fit '
            f'into 16 bits ({_MAX_VOCAB:,} codes at most)'
        )
    precision = getattr(tokenizer, 'compute_dtype', torch.float32)
    return dict(
        type=name,
        weights=weights_digest(tokenizer),
        vocab_size=tokenizer.vocab_size,
        downsample=tokenizer.downsample,
        precision=str(precision).removeprefix('torch.'),
    )


def describe_views(dataset: Any) -> tuple[dict, tuple[int, int]]:
    """Describe how the pipeline makes the tokenizer's view of an image.

    Args:
        dataset: A dataset with a pipeline, or a wrapper around datasets.

    Returns:
        The transforms with their settings, and the view's ``(h, w)``.

    Raises:
        ConfigError: If the view does not only depend on the identity of the
            sample, or wrapped datasets make different views.
    """
    found = [_describe_pipeline(inner) for inner in _pipelines(dataset)]
    if not found:
        raise ConfigError('token_store: the dataset has no pipeline')
    if any(other != found[0] for other in found):
        raise ConfigError(
            'token_store: the joined datasets make different '
            'views; give them the same pipeline'
        )
    return found[0]


def describe_images(dataset: Any) -> dict:
    """Describe a dataset by its files; their folder does not matter.

    The description covers the file names relative to their common folder, in
    order, and the sizes of up to 1000 files from all parts of the list. That
    is enough to detect a resized copy of the dataset.

    Args:
        dataset: Has a length and ``get_data_info(index)['img_path']``.
    """
    paths = [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]
    ends = [min(paths), max(paths)]
    start = os.path.commonprefix(ends).rfind('/') + 1  # noqa: RUF071
    names, sizes = hashlib.sha256(), hashlib.sha256()
    for path in paths:
        names.update(f'{path[start:]}\n'.encode('utf-8', 'surrogateescape'))
    for path in paths[:: -(-len(paths) // _SIZES_LOOKED_AT)]:
        size = os.stat(path).st_size if os.path.exists(path) else None
        sizes.update(f'{size}\n'.encode())
    return dict(
        images=len(paths), names=names.hexdigest(), sizes=sizes.hexdigest()
    )


def skip_first_view(dataset: Any) -> None:
    """Make the encoder's views tiny, for runs that only need tokens.

    Args:
        dataset: Its pipelines are changed in place.
    """
    for transforms in _pipelines(dataset):
        for transform in transforms:
            if isinstance(transform, TwoViewTransform):
                transform.skip_first_view()


def _describe_pixels(data_preprocessor: Any) -> dict:
    parts = {}
    for key in ('second_mean', 'second_std'):
        value = getattr(data_preprocessor, key, None)
        parts[key] = None if value is None else value.flatten().tolist()
    parts['to_rgb'] = getattr(data_preprocessor, '_channel_conversion', None)
    return parts


def _pipelines(dataset: Any) -> Iterator[Sequence]:
    """Yield the pipelines of a dataset and of the datasets it wraps."""
    for inner in inner_datasets(dataset):
        # Not by `getattr`, which some wrappers forward to what they wrap.
        pipeline = getattr(inner, '__dict__', {}).get('pipeline')
        if pipeline is not None:
            yield pipeline.transforms


def _describe_pipeline(transforms: Sequence) -> tuple[dict, tuple[int, int]]:
    views: dict[str, Any] = {}
    size = None
    for transform in transforms:
        name = type(transform).__name__
        if name == 'PackInputs':  # each OpenMMLab library has its own
            continue
        if not changes_target_view(transform):
            continue
        if not is_of_mmcae(transform):
            raise ConfigError(
                f'token_store: the random draws of {name} may not follow the '
                'sample; put it into mmcae.Seeded'
            )
        if isinstance(transform, TwoViewTransform):
            size = transform.second_size
        # The number in the key keeps the order of the transforms.
        views[f'{len(views)}_{name}'] = target_view_settings(transform)
    if size is None:
        raise ConfigError(
            'token_store: no transform of the pipeline makes two views '
            '(mmcae.TwoViewRandomResizedCrop, mmcae.TwoViewResize)'
        )
    return views, size
