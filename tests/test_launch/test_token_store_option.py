# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""What the config entry ``token_store`` makes of a config."""

import copy
import os

import pytest
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmpretrain.datasets import PackInputs

from mmcae.config.check import ConfigError
from mmcae.datasets import SeededSampler, TokenStore
from mmcae.launch.token_store import share_sampler_seed, use_token_store

PACK = dict(type='mmpretrain.PackInputs')
READER = 'mmcae.LoadTokens'
WRITER = 'mmcae.TokenStoreHook'


def config(**options):
    cfg = Config(
        dict(
            token_store='store',
            train_dataloader=dict(
                sampler=dict(type='mmcae.SeededSampler'),
                dataset=dict(
                    type='mmcae.FolderDataset',
                    pipeline=[dict(type='mmcae.LoadImage'), PACK],
                ),
            ),
            custom_hooks=[dict(type='mmcae.DataHealthHook')],
        )
    )
    cfg.merge_from_dict(options)
    return cfg


def used(**options):
    cfg = config(**options)
    use_token_store(cfg)
    return cfg


@pytest.fixture
def store(tmp_path):
    """Folder of a store that was made with the seed 5."""
    header = dict(
        format=1,
        dataset=dict(images=3),
        grid=[2, 2],
        seed=5,
        tokenizer=dict(vocab_size=8),
    )
    return str(TokenStore.for_run(tmp_path / 'store', header).path)


def test_use_token_store__without_the_entry_changes_nothing():
    cfg = config(token_store=None)
    before = copy.deepcopy(cfg)
    use_token_store(cfg)
    assert cfg.to_dict() == before.to_dict()


@pytest.mark.parametrize('path', ['', True, 3])
def test_use_token_store__refuses_what_is_no_path(path):
    with pytest.raises(ConfigError, match='must be a folder, got'):
        used(token_store=path)


def test_use_token_store__adds_reader_writer_and_collate_once():
    cfg = used(token_store='~/store')
    path = os.path.expanduser('~/store')
    for _ in range(2):
        loader = cfg.train_dataloader
        reader, load, pack = loader.dataset.pipeline
        assert reader == dict(type=READER, store=path)
        assert load == dict(type='mmcae.LoadImage')
        assert pack == dict(PACK, algorithm_keys=('tokens',))
        assert loader.collate_fn == dict(type='mmcae.collate_views')
        assert cfg.custom_hooks == [
            dict(type='mmcae.DataHealthHook'),
            dict(type=WRITER, path=path),
        ]
        use_token_store(cfg)


def test_use_token_store__does_not_follow_the_current_folder():
    path = os.path.join(os.getcwd(), 'store')
    cfg = used()
    assert cfg.train_dataloader.dataset.pipeline[0].store == path
    assert cfg.custom_hooks[-1].path == path


def test_use_token_store__keeps_other_keys_of_pack_inputs():
    cfg = config()
    (_, pack) = cfg.train_dataloader.dataset.pipeline
    pack.update(algorithm_keys=['extra'], meta_keys=['img_path'])
    use_token_store(cfg)
    pack = cfg.train_dataloader.dataset.pipeline[-1]
    assert pack.algorithm_keys == ('extra', 'tokens')
    assert pack.meta_keys == ('img_path', 'sample_idx')


def test_use_token_store__looks_through_wrappers():
    inner = config().train_dataloader.dataset.to_dict()
    joined = dict(type='ConcatDataset', datasets=[inner, inner])
    repeated = dict(type='RepeatDataset', times=2, dataset=joined)
    cfg = config()
    cfg.train_dataloader.dataset = repeated
    use_token_store(cfg)
    for one in cfg.train_dataloader.dataset.dataset.datasets:
        assert one.pipeline[0].type == READER
        assert one.pipeline[-1].algorithm_keys == ('tokens',)


def test_use_token_store__takes_classes_for_names(store):
    cfg = config(token_store=store)
    cfg.train_dataloader.sampler.type = SeededSampler
    cfg.train_dataloader.collate_fn = dict(type=default_collate)
    cfg.train_dataloader.dataset.pipeline[-1] = dict(type=PackInputs)
    use_token_store(cfg)
    assert cfg.train_dataloader.sampler.seed == 5
    pack = cfg.train_dataloader.dataset.pipeline[-1]
    assert pack == dict(type=PackInputs, algorithm_keys=('tokens',))


def test_use_token_store__refuses_other_loaders():
    with pytest.raises(ConfigError, match="'pseudo_collate', not"):
        used(**{'train_dataloader.collate_fn.type': 'pseudo_collate'})
    for change in (
        {'train_dataloader.dataset.pipeline': []},
        {'train_dataloader': None},
    ):
        with pytest.raises(ConfigError, match='no pipeline'):
            used(**change)


@pytest.mark.parametrize(
    ('options', 'seed'),
    [
        ({}, 5),
        ({'train_dataloader.sampler.seed': 2}, 2),
        ({'randomness': dict(seed=3)}, None),  # the runner's, and refused
        ({'train_dataloader.sampler.type': 'DefaultSampler'}, None),
    ],
)
def test_use_token_store__a_run_without_seed_takes_the_stores(
    store, options, seed
):
    cfg = used(token_store=store, **options)
    assert cfg.train_dataloader.sampler.get('seed') == seed


@pytest.mark.parametrize(
    ('options', 'seed'),
    [
        ({'randomness': dict(seed=3, diff_rank_seed=True)}, 3),
        ({'randomness': dict(seed=0)}, 0),
        ({'randomness': dict(diff_rank_seed=True)}, None),
        (
            {
                'randomness': dict(seed=3),
                'train_dataloader.sampler.seed': 2,
            },
            2,
        ),
        (
            {
                'randomness': dict(seed=3),
                'train_dataloader.sampler.type': 'DefaultSampler',
            },
            None,
        ),
    ],
)
def test_share_sampler_seed__is_that_of_the_config(options, seed):
    cfg = config(**options)
    share_sampler_seed(cfg)
    assert cfg.train_dataloader.sampler.get('seed') == seed
