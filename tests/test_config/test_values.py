# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Values with which no run can work, wherever they come from."""

import glob
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.utils import get_installed_path

from mmcae.config.overrides import ConfigError, load_config
from mmcae.config.search_path import list_configs
from mmcae.config.values import RULES, check_values

CAE = 'cae_tiny-p8_1xb32-coslr-80e_digits-32px'
NAN = float('nan')


# A row: the key, values that are refused, values that are not.
TABLE = [
    (
        'train_dataloader.batch_size',
        ['abc', '', '8', 0, -4, 8.5, None, True, [8]],
        [1, 4096],
    ),
    ('train_dataloader.num_workers', [-1, 'two', 1.5, None], [0, 16]),
    ('train_dataloader.dataset.data_root', [3, ['a', 'b']], ['a b, c']),
    ('train_dataloader.prefetch_factor', [0, 'a'], [None, 2]),
    ('train_dataloader.pin_memory', ['yes', 1], [True, False]),
    ('train_dataloader', [[], 3], []),
    ('train_cfg.max_epochs', [0, -1, 'ten', 2.5, NAN, None], [1, 1600]),
    ('train_cfg.max_iters', [0, -1, 'ten'], [160000]),
    ('train_cfg.val_interval', [0, -2, 'a'], [1]),
    (
        'optim_wrapper.optimizer.lr',
        ['abc', NAN, float('inf'), None, -1e-3, [1e-3]],
        [0, 0.0, 1, 2e-3],
    ),
    (
        'optim_wrapper.optimizer.betas',
        [(0.9, 1.5), (0.9, 1.0), (-0.1, 0.9), (0.9,), 0.9, ('a', 'b')],
        [(0.0, 0.999), [0.9, 0.95]],
    ),
    ('optim_wrapper.optimizer.weight_decay', [-1, NAN, 'a', None], [0, 0.05]),
    ('optim_wrapper.accumulative_counts', [0, -1, 1.5, 'a'], [1, 8]),
    ('optim_wrapper.clip_grad.max_norm', [0, -1, 'a', NAN], [3.0]),
    ('optim_wrapper.dtype', ['float8', 16], ['bfloat16', None]),
    ('optim_wrapper.loss_scale', ['static', 0], ['dynamic', 512.0]),
    ('param_scheduler.1.T_max', [0, -3, 'a', 7.5], [77, None]),
    ('param_scheduler.0.start_factor', [-0.1, 1.1, 'a'], [0, 1e-6, 1]),
    ('param_scheduler.1.end', [3, 2, 0, 'a'], [4]),
    ('param_scheduler', [3, 'a'], [None, []]),
    ('default_hooks.checkpoint.interval', [0, -2, 'a', 1.5], [-1, 10]),
    ('default_hooks.checkpoint.max_keep_ckpts', [0, 'a'], [-1, 3]),
    ('default_hooks.logger.interval', [0, -1, 'a'], [50]),
    ('randomness.seed', ['x', -1, 2**32, 1.5], [0, None]),
    ('load_from', [3, ['a', 'b.pth'], ''], ['a b.pth', None]),
    ('model', [None, 'CAE'], []),
    ('model.backbone.drop_path_rate', [1.5, 1, -0.1, 'a'], [0.0, 0.1]),
    ('model.backbone.patch_size', [0, -8, 'a', 8.5], [16, (8, 8)]),
    ('model.backbone.arch.num_heads', [0, 'a'], [3]),
    ('model.backbone.drop_rate', [1.5, -0.1, 'a'], [0.0, 1]),
    ('model.neck.attn_drop_rate', [1.5, -0.1], [0.0]),
    ('model.neck.mlp_ratio', [0, 'a'], [4, 2.5]),
    ('model.base_momentum', [2, -1], [0.0, 0.996]),
    ('optim_wrapper.optimizer.foreach', ['yes'], [True, None]),
    ('optim_wrapper.paramwise_cfg.norm_decay_mult', ['a', -1], [0, 1.0]),
    ('model.neck.regressor_depth', [0, -1, 'a'], [1, 4]),
    ('model.head.loss.lambd', ['a', NAN, -1, None], [0, 2.0]),
    ('model.data_preprocessor.mean', [[1, 2], 3, ['a'] * 3], [[1], [1] * 3]),
    ('model.data_preprocessor.std', [[1, 0, 1], [1, 2], 0], [[1.5]]),
    ('train_dataloader.dataset.pipeline.2.num_masking_patches', [0, 'a'], [7]),
]


def test_check_values__names_key_and_value(subtests):
    for key, refused, _ in TABLE:
        for value in refused:
            with subtests.test(f'{key}={value!r}'):
                cfg = load_config(CAE, {f'+{key}': value})
                with pytest.raises(ConfigError) as caught:
                    check_values(cfg)
                message = str(caught.value)
                start = f'{key}={value!r}: must be '
                assert message.startswith(start) or key == 'model'
                assert '\n' not in message


def test_check_values__passes_valid_values(subtests):
    for key, _, accepted in TABLE:
        for value in accepted:
            with subtests.test(f'{key}={value!r}'):
                check_values(load_config(CAE, {f'+{key}': value}))


def test_check_values__only_where_the_type_is_meant():
    key = 'train_dataloader.dataset.pipeline.1'
    crop = dict(type='mmcae.TwoViewRandomResizedCrop', scale=(2, 3))
    cfg = load_config(CAE, {key: crop})
    with pytest.raises(ConfigError, match=r'scale=\(2, 3\): must be a list'):
        check_values(cfg)
    # mmpretrain's has a size of that name
    crop.update(type='mmpretrain.RandomResizedCrop', scale=224)
    check_values(load_config(CAE, {key: crop}))


def test_check_values__the_cause_comes_before_what_follows_from_it():
    cfg = load_config(CAE, {'max_epochs': 0})
    assert cfg.default_hooks.checkpoint.interval == 0
    with pytest.raises(ConfigError, match=r'^train_cfg\.max_epochs=0'):
        check_values(cfg)


def test_rules__every_pattern_meets_a_key():
    """A row with a slip in its key would check nothing."""
    from mmcae.config.key_paths import walk

    names = {
        path.rpartition('.')[2]
        for file in list_configs()
        for path, _ in walk(load_config(file))
    }
    tested = {key.rpartition('.')[2] for key, _, _ in TABLE}
    ruled = {rule.keys.rpartition('.')[2] for rule in RULES}
    options = {'work_dir', 'val_begin', 'timeout', 'clip_value', 'save_last'}
    assert ruled - names - tested - {'*', '*_mult', '*_dataloader'} == options


def test_check_values__no_false_alarm():
    for file in list_configs():
        check_values(load_config(file))
    count = 0
    for package in ('mmpretrain', 'mmseg', 'mmdet'):
        try:
            root = Path(get_installed_path(package)) / '.mim' / 'configs'
        except Exception:
            continue
        files = sorted(glob.glob(f'{root}/**/*.py', recursive=True))
        files = [file for file in files if '_base_' not in file]
        for file in files[::80]:
            try:
                other = Config.fromfile(file, import_custom_modules=False)
            except (RuntimeError, FileNotFoundError):
                continue  # a config that its own package cannot read
            check_values(other)
            count += 1
    assert count > 10
