# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Find transforms in the config of a training."""

from collections.abc import Iterator, Mapping
from typing import Any


def training_transform(
    config: Mapping[str, Any], name: str
) -> Mapping[str, Any]:
    """The transform of the training pipeline whose type contains a name.

    Args:
        config: Of the training.
        name: A part of the type.

    Returns:
        The transform; empty if there is none.
    """
    loader = config.get('train_dataloader')
    dataset = loader.get('dataset') if isinstance(loader, Mapping) else None
    for transform in _transforms(dataset):
        if name in str(transform.get('type')):
            return transform
    return {}


def _transforms(dataset: Any) -> Iterator[Mapping[str, Any]]:
    """The transforms of a dataset and of those that it wraps.

    A config from a file can have anything in their place.
    """
    if isinstance(dataset, list | tuple):
        for item in dataset:
            yield from _transforms(item)
    elif isinstance(dataset, Mapping):
        pipeline = dataset.get('pipeline')
        if isinstance(pipeline, list | tuple):
            yield from (t for t in pipeline if isinstance(t, Mapping))
        yield from _transforms(dataset.get('dataset'))
        yield from _transforms(dataset.get('datasets'))
