# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The names that mmengine reads, most of them from signatures."""

import inspect

import pytest
from mmengine.config import Config
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mmcae.config import keys
from mmcae.config.overrides import ConfigError, apply_options


def test_keys__have_every_argument_of_the_installed_mmengine_and_torch():
    assert set(inspect.signature(Runner).parameters) <= keys.TOP_LEVEL
    loader = set(inspect.signature(DataLoader).parameters)
    assert loader <= keys.UNTYPED['train_dataloader']


def test_keys__without_what_the_caller_fills_in(subtests):
    for path, name in (
        ('compile', 'model'),
        ('env_cfg.mp_cfg', 'distributed'),
        ('env_cfg.dist_cfg', 'launcher'),
        ('env_cfg.dist_cfg', 'kwargs'),
        ('env_cfg.dist_cfg', '_ranks'),
        ('optim_wrapper.clip_grad', 'parameters'),
        ('randomness', 'self'),
    ):
        with subtests.test(f'{path}.{name}'):
            assert name not in keys.UNTYPED[path]


def test_keys__that_a_signature_has_and_one_that_mmengine_adds(subtests):
    for path, names in (
        ('compile', 'target backend mode options fullgraph dynamic disable'),
        ('env_cfg.mp_cfg', 'mp_start_method opencv_num_threads'),
        (
            'env_cfg.dist_cfg',
            'backend timeout init_backend init_method port rank store',
        ),
        ('optim_wrapper.clip_grad', 'type max_norm norm_type clip_value'),
        ('randomness', 'seed deterministic diff_rank_seed'),
        ('val_dataloader', 'num_batch_per_epoch in_order pin_memory'),
    ):
        with subtests.test(path):
            assert set(names.split()) <= keys.UNTYPED[path]


def test_keys__of_a_data_preprocessor_without_a_type():
    cfg = Config(dict(data_preprocessor=dict(mean=[0.0])))
    apply_options(cfg, {'data_preprocessor.to_rgb': True})
    apply_options(cfg, {'data_preprocessor.second_mean': [0.0]})
    with pytest.raises(ConfigError, match=r'did you mean .*to_rgb'):
        apply_options(cfg, {'data_preprocessor.to_rbg': True})
