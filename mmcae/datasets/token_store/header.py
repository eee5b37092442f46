# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""What the visual tokens of a run depend on, in plain JSON."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from mmcae.checkpoint.digest import weights_digest
from mmcae.config.check import ConfigError

from ..samplers import SeededInfiniteSampler, SeededSampler
from ..transforms.block_mask_generator import BlockMaskGenerator
from ..transforms.load_image import LoadImage
from ..transforms.load_tokens import LoadTokens
from ..transforms.random_mask_generator import RandomMaskGenerator
from ..transforms.random_resized_crop import RandomResizedCrop
from ..transforms.resize import kernels_of
from ..transforms.seeded import Seeded
from ..transforms.two_view_crop import TwoViewRandomResizedCrop
from ..transforms.two_view_resize import TwoViewResize
from .store import FORMAT

_MAX_VOCAB = 1 << 16  # a token is a uint16
_SIZES_LOOKED_AT = 1000

_TWO_VIEWS = (TwoViewRandomResizedCrop, TwoViewResize)
# Transforms that leave the view of the tokenizer as it is.
_VIEW_STAYS = (BlockMaskGenerator, RandomMaskGenerator, LoadTokens)
# Arguments that do not shape the tokenizer's view.
_IRRELEVANT = {
    LoadImage: {'backend', 'backend_args'},  # the pixels are the same
    TwoViewRandomResizedCrop: {'size', 'interpolation'},
    TwoViewResize: {'size', 'interpolation'},
}


def run_header(
    dataset: Any,
    sampler: Any,
    tokenizer: Any,
    data_preprocessor: Any,
) -> dict:
    """Describe everything that the tokens of a run depend on.

    Two runs with equal headers have equal tokens for each
    ``(epoch or slot, index)``. The encoder, its image size, masks, batch
    size, workers and schedule are not in it.

    Args:
        dataset: The training data.
        sampler: Its sampler.
        tokenizer: The target generator, weights loaded.
        data_preprocessor: What normalizes the tokenizer's view.

    Returns:
        Plain values, for JSON.

    Raises:
        ConfigError: If tokens of this run cannot be stored.
    """
    if not isinstance(sampler, SeededSampler | SeededInfiniteSampler):
        raise ConfigError(
            f'token_store: {type(sampler).__name__} does not say which view '
            'a sample is; set train_dataloader.sampler.type to '
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
    """Describe a tokenizer by its tensors, whatever file they came from.

    Args:
        tokenizer: The target generator.

    Raises:
        ConfigError: If it does not tell ``vocab_size`` and ``downsample``,
            or a token does not fit into 16 bits.
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
    """Describe what makes the tokenizer's view of an image.

    Args:
        dataset: A data set with a pipeline, or a wrapper around some.

    Returns:
        The transforms and their arguments, and the view's ``(h, w)``.

    Raises:
        ConfigError: If the view is not a function of the sample's identity,
            or data sets inside differ in it.
    """
    found = [_describe_pipeline(inner) for inner in _pipelines(dataset)]
    if not found:
        raise ConfigError('token_store: the data set has no pipeline')
    if any(other != found[0] for other in found):
        raise ConfigError(
            'token_store: the data sets that are joined here make different '
            'views; give them the same pipeline'
        )
    return found[0]


def describe_images(dataset: Any) -> dict:
    """Describe a data set by its files, wherever they are.

    Names below their common folder, in order, and the sizes of up to 1000
    files spread over the list: enough to notice a resized copy.

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
    """Make the encoder's views tiny, where only tokens are wanted.

    Args:
        dataset: Its pipelines are changed in place.
    """
    for transforms in _pipelines(dataset):
        for transform in transforms:
            if isinstance(transform, _TWO_VIEWS):
                transform.size = (1, 1)
                transform.interpolation = 'nearest'


def _describe_pixels(data_preprocessor: Any) -> dict:
    parts = {}
    for key in ('second_mean', 'second_std'):
        value = getattr(data_preprocessor, key, None)
        parts[key] = None if value is None else value.flatten().tolist()
    parts['to_rgb'] = getattr(data_preprocessor, '_channel_conversion', None)
    return parts


def _pipelines(dataset: Any) -> Iterator[Sequence]:
    """Look through wrappers for pipelines."""
    own = getattr(dataset, '__dict__', {})
    if 'pipeline' in own:
        yield own['pipeline'].transforms
    for name in ('dataset', '_dataset'):
        if name in own:
            yield from _pipelines(own[name])
    for inner in own.get('datasets', ()):
        yield from _pipelines(inner)


def _describe_pipeline(transforms: Sequence) -> tuple[dict, tuple[int, int]]:
    shaping = [
        transform
        for transform in transforms
        if not isinstance(transform, _VIEW_STAYS)
        and type(transform).__name__ != 'PackInputs'
    ]
    size = None
    for transform in shaping:
        if not type(transform).__module__.startswith('mmcae.'):
            raise ConfigError(
                f'token_store: {type(transform).__name__} may draw from '
                'generators that do not follow the sample; put it into '
                'mmcae.Seeded'
            )
        if isinstance(transform, _TWO_VIEWS):
            size = transform.second_size
    if size is None:
        raise ConfigError(
            'token_store: no transform of the pipeline makes two views '
            '(mmcae.TwoViewRandomResizedCrop, mmcae.TwoViewResize)'
        )
    # The number in front keeps their order.
    views = {
        f'{i}_{type(transform).__name__}': _plain(transform)
        for i, transform in enumerate(shaping)
    }
    return views, size


def _plain(value: Any) -> Any:
    """Turn settings, and objects that hold some, into JSON values."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.ndarray | np.generic | torch.Tensor):
        return value.tolist()
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Seeded):
        return {
            f'{i}_{type(item).__name__}': _plain(item)
            for i, item in enumerate(value.transforms)
        }
    if callable(value) and hasattr(value, '__qualname__'):
        return f'{value.__module__}.{value.__qualname__}'
    if not hasattr(value, '__dict__'):
        return repr(value)
    irrelevant = {
        name
        for kind, names in _IRRELEVANT.items()
        if isinstance(value, kind)
        for name in names
    }
    settings = {
        key: _plain(item)
        for key, item in sorted(vars(value).items())
        if not key.startswith('_') and key not in irrelevant
    }
    if isinstance(value, (*_TWO_VIEWS, RandomResizedCrop)):
        # 'fast' is PIL where the fast library is missing
        settings['backend'] = kernels_of(value.backend)
    return settings
