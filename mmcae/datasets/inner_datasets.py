# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The datasets inside wrappers of datasets."""

from collections.abc import Iterator
from typing import Any


def inner_datasets(dataset: Any) -> Iterator[Any]:
    """Yield a dataset and all datasets inside it, outermost first.

    Args:
        dataset: A dataset, or a wrapper such as ``ConcatDataset`` or
            ``RepeatDataset``.

    Yields:
        ``dataset`` itself, then the datasets that it wraps, at any depth.
    """
    yield dataset
    # Not by `getattr`: some wrappers forward unknown names to what they wrap.
    own = getattr(dataset, '__dict__', {})
    for name in ('dataset', '_dataset'):
        if name in own:
            yield from inner_datasets(own[name])
    for inner in own.get('datasets', ()):
        yield from inner_datasets(inner)
