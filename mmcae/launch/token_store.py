# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The config entry ``token_store``: compute tokens once, then read them."""

import os
from collections.abc import Iterator
from typing import Any

from mmengine.config import Config, ConfigDict

from mmcae.config.check import ConfigError

_READER = 'mmcae.LoadTokens'
_WRITER = 'mmcae.TokenStoreHook'
_COLLATE = 'mmcae.collate_views'
_SAMPLERS = ('SeededSampler', 'SeededInfiniteSampler')


def use_token_store(cfg: Config) -> None:
    """Change a config with ``token_store = 'FOLDER'`` so that it uses a store.

    The training pipeline begins with ``mmcae.LoadTokens``,
    ``mmcae.collate_views`` makes its batches, and ``mmcae.TokenStoreHook``
    checks and fills the store. A config without the entry stays as it is.

    Args:
        cfg: A complete config, changed in place.

    Raises:
        ConfigError: If the entry is not a path, or the config cannot use a
            store.
    """
    path = cfg.get('token_store')
    if path is None:
        return
    if not isinstance(path, str) or not path:
        raise ConfigError(f'token_store must be a folder, got {path!r}')
    path = os.path.abspath(os.path.expanduser(path))
    loader = cfg.get('train_dataloader') or ConfigDict()
    datasets = list(_with_pipeline(loader.get('dataset')))
    if not datasets:
        raise ConfigError(
            'token_store: train_dataloader.dataset has no pipeline'
        )
    for dataset in datasets:
        reader = ConfigDict(type=_READER, store=path)
        rest = [_keep_tokens(t) for t in dataset.pipeline if not _is(t)]
        dataset.pipeline = [reader, *rest]
    collate = _type_name(loader.get('collate_fn') or {})
    if collate not in ('', 'default_collate', 'collate_views'):
        raise ConfigError(
            f'token_store: train_dataloader.collate_fn is {collate!r}, not '
            "'default_collate'"
        )
    loader.collate_fn = ConfigDict(type=_COLLATE)
    hooks = [hook for hook in cfg.get('custom_hooks') or [] if not _is(hook)]
    cfg.custom_hooks = [*hooks, ConfigDict(type=_WRITER, path=path)]
    _use_seed_of_store(loader.get('sampler') or ConfigDict(), cfg, path)


def share_sampler_seed(cfg: Config) -> None:
    """Give the training sampler the run's seed, on all processes.

    With ``randomness.diff_rank_seed=True`` mmengine draws a seed for the
    samplers of all processes, which depends on every earlier random draw. But
    the views, and so their stored tokens, must follow the config's seed.

    Args:
        cfg: Changed in place; a sampler of another package, and one with a
            seed of its own, is left alone.
    """
    seed = (cfg.get('randomness') or {}).get('seed')
    sampler: Any = (cfg.get('train_dataloader') or {}).get('sampler')
    if seed is not None and _is_seeded(sampler):
        sampler.setdefault('seed', seed)


def _use_seed_of_store(sampler: ConfigDict, cfg: Config, path: str) -> None:
    """Use the seed of the store if the config sets none."""
    # Not at the top: the datasets import mmpretrain, which takes seconds.
    from mmcae.datasets import TokenStore

    asked = (cfg.get('randomness') or {}).get('seed')
    if asked is None and _is_seeded(sampler) and 'seed' not in sampler:
        try:
            sampler.seed = TokenStore.open(path).seed
        except FileNotFoundError:
            return  # a new store is made with the seed that mmengine draws


def _type_name(item: Any) -> str:
    """The ``type`` of a config's dict without its scope; '' if it has none.

    In configs with Python imports, ``type`` is the class itself.
    """
    kind = item.get('type', '') if isinstance(item, dict) else ''
    name = kind if isinstance(kind, str) else getattr(kind, '__name__', '')
    return name.rpartition('.')[-1]


def _is_seeded(sampler: Any) -> bool:
    return _type_name(sampler) in _SAMPLERS


def _is(item: Any) -> bool:
    """Whether an item is one that this module adds."""
    return isinstance(item, dict) and item.get('type') in (_READER, _WRITER)


def _with_pipeline(dataset: Any) -> Iterator[ConfigDict]:
    """Find the datasets with a pipeline, also inside wrappers."""
    if not isinstance(dataset, dict):
        return
    if dataset.get('pipeline'):
        yield dataset  # type: ignore[misc]
    yield from _with_pipeline(dataset.get('dataset'))
    for inner in dataset.get('datasets') or ():
        yield from _with_pipeline(inner)


def _keep_tokens(transform: Any) -> Any:
    """Let ``PackInputs`` keep the tokens and the index of the sample."""
    if _type_name(transform) != 'PackInputs':
        return transform
    transform = ConfigDict(transform)
    keys = transform.get('algorithm_keys') or ()
    if 'tokens' not in keys:
        transform.algorithm_keys = (*keys, 'tokens')
    keys = transform.get('meta_keys')
    if keys is not None and 'sample_idx' not in keys:
        transform.meta_keys = (*keys, 'sample_idx')
    return transform
