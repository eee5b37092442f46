# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Variables of config files, given on the command line."""

import warnings

import pytest
from helpers import toy_project
from mmengine.config import Config

from mmcae.config.overrides import ConfigError, load_config
from mmcae.config.search_path import list_configs
from mmcae.config.variables import with_values

CAE = 'cae_tiny-p8_1xb32-coslr-80e_digits-32px'
DVAE = 'dvae_f8-k64_1xb32-13e_digits-32px'

BASE = """
data_root = 'data/set'
epochs, warmup = 80, 3
size = 32
names = ['a', 'b']
train_dataloader = dict(batch_size=size // 8, num_workers=0,
    dataset=dict(data_root=data_root, ann_file=f'{data_root}/a.txt'))
train_cfg = dict(by_epoch=True, max_epochs=epochs)
param_scheduler = [
    dict(type='LinearLR', end=warmup),
    dict(type='CosineAnnealingLR', begin=warmup, end=epochs,
         T_max=epochs - warmup)]
"""


@pytest.fixture
def base(tmp_path):
    (tmp_path / 'base.py').write_text(BASE)

    def write(text):
        path = tmp_path / 'child.py'
        path.write_text(f"_base_ = './base.py'\n{text}")
        return path

    return write


def schedule(cfg):
    return [
        (item.get('begin', 0), item.end, item.get('T_max'))
        for item in cfg.param_scheduler
    ]


def test_load_config__variable_of_an_inherited_file(base):
    cfg = load_config(base(''), {'epochs': 10, 'size': 64})
    assert cfg.train_cfg.max_epochs == 10
    assert schedule(cfg) == [(0, 3, None), (3, 10, 7)]
    assert cfg.train_dataloader.batch_size == 8


def test_load_config__variable_that_every_file_sets(base):
    text = """
epochs = 800
train_cfg = dict(max_epochs=_base_.warmup + epochs)
val_cfg = dict(type={{_base_.epochs}})
if epochs > 5:
    size: int = 16
    size += 8
train_dataloader = dict(batch_size=size)
"""
    cfg = load_config(base(text), {'epochs': 10})
    assert (cfg.train_cfg.max_epochs, cfg.val_cfg.type) == (13, 10)
    assert schedule(cfg)[1] == (3, 10, 7)
    assert cfg.train_dataloader.batch_size == 24
    cfg = load_config(base(text), {'epochs': 10, 'size': 5})
    assert cfg.train_dataloader.batch_size == 5


def test_load_config__dotted_key_wins_over_a_variable(base):
    options = {'train_cfg.max_epochs': 7, 'epochs': 10}
    cfg = load_config(base(''), options)
    assert cfg.train_cfg.max_epochs == 7
    assert schedule(cfg)[1] == (3, 10, 7)


def test_load_config__data_root_computed_and_written_out(base, tmp_path):
    text = "val_dataloader = dict(dataset=dict(data_root='data/set/val'))"
    cfg = load_config(base(text), {'data_root': tmp_path / 'My, own'})
    root = str(tmp_path / 'My, own')
    assert cfg.train_dataloader.dataset.ann_file == f'{root}/a.txt'
    assert cfg.val_dataloader.dataset.data_root == f'{root}/val'


@pytest.mark.parametrize('new', ['/my set', '/my set/'])
def test_load_config__data_root_that_the_file_ends_with_a_slash(base, new):
    text = """
data_root = 'data/other/'
train_dataloader = dict(
    dataset=dict(data_root=data_root, ann_file=data_root + 'a.txt'))
"""
    dataset = load_config(base(text), {'data_root': new}).train_dataloader
    assert dataset.dataset.data_root == new
    assert dataset.dataset.ann_file == '/my set/a.txt'


@pytest.mark.parametrize('epochs', [3, 2])
def test_load_config__warm_up_fills_a_short_training(base, epochs):
    with pytest.warns(UserWarning, match='CosineAnnealingLR from 3 to'):
        cfg = load_config(base(''), {'epochs': epochs})
    assert cfg.train_cfg.max_epochs == epochs
    assert schedule(cfg) == [(0, 3, None)]


def test_load_config__value_of_another_kind(base, subtests):
    for name, value, words in (
        ('epochs', 'abc', "epochs='abc': must be a whole number, as 80 is"),
        ('epochs', 8.5, 'must be a whole number'),
        ('epochs', True, 'must be a whole number'),
        ('epochs', None, 'must be a whole number'),
        ('data_root', 3, 'must be text'),
        ('data_root', None, "'data_root' is empty"),
        ('names', 'a', 'must be a list'),
    ):
        with (
            subtests.test(f'{name}={value!r}'),
            pytest.raises(ConfigError, match=words),
        ):
            load_config(base(''), {name: value})


def test_load_config__file_that_cannot_compute(base):
    path = base('per_epoch = 100 // _base_.size')
    with pytest.raises(ConfigError, match=r'size=0: .*ZeroDivisionError'):
        load_config(path, {'size': 0})
    # and mmengine reads as before
    assert Config.fromfile(path).train_cfg.max_epochs == 80


def test_load_config__variable_without_effect(base, subtests):
    for text, options, words in (
        # the keys of that name do not follow, though another key does
        (
            'max_epochs = 9\nlog_level = str(max_epochs)',
            {'max_epochs': 4},
            'set train_cfg.max_epochs (80)',
        ),
        # nothing follows, and no key has the name
        (
            'length = 80',
            {'length': 4},
            'set train_cfg.max_epochs (80), param_scheduler.1.end (80)',
        ),
        ('alone = 5000', {'alone': 4}, 'nothing is computed from it here'),
        # also beside another that reaches something
        ('alone = 5000', {'alone': 4, 'epochs': 9}, 'nothing is computed'),
        # inside a variable
        (
            "steps = [dict(type='x')]\nval_dataloader = dict(dataset=steps)",
            {'steps.0.type': 'y'},
            "set 'val_dataloader.dataset.0.type' instead",
        ),
    ):
        with subtests.test(text):
            with pytest.raises(ConfigError, match='is a variable') as caught:
                load_config(base(text), options)
            assert words in str(caught.value)
            assert '\n' not in str(caught.value)


def test_load_config__what_a_run_wrote_down_says_which_keys(tmp_path):
    path = tmp_path / 'dumped.py'
    load_config(CAE).dump(path)
    with pytest.raises(ConfigError, match=r'train_cfg.max_epochs \(80\)'):
        load_config(path, {'max_epochs': 3})


@pytest.mark.parametrize('path', list_configs(), ids=lambda path: path.stem)
def test_packaged_configs__what_people_type_first(path):
    plain = load_config(path)
    name = 'max_epochs' if 'max_epochs' in plain.train_cfg else 'max_iters'
    length = plain.train_cfg[name] + 7
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        cfg = load_config(path, {name: length})
    assert cfg.train_cfg[name] == length
    last = cfg.param_scheduler[-1]
    assert last.end == length + (last.type == 'PolyLR')
    assert last.get('T_max', 0) in (0, length - last.get('begin', 0))
    for name, key in (
        ('batch_size', 'train_dataloader.batch_size'),
        ('num_workers', 'train_dataloader.num_workers'),
        ('lr', 'optim_wrapper.optimizer.lr'),
    ):
        if name in plain:
            node = load_config(path, {name: 2})
            for part in key.split('.'):
                node = node[part]
            assert node == 2
        elif 'lrs' not in plain.model.get('head', {}):  # sweeps have several
            with pytest.raises(ConfigError, match=f"did you mean '{key}'"):
                load_config(path, {name: 2})


def test_packaged_configs__all_of_them_at_once():
    options = {'max_epochs': 10, 'batch_size': 8, 'lr': 1e-4}
    cfg = load_config(CAE, options)
    assert cfg.train_dataloader.batch_size == 8
    assert cfg.optim_wrapper.optimizer.lr == 1e-4
    assert schedule(cfg) == [(0, 3, None), (3, 10, 7)]
    assert cfg.default_hooks.checkpoint.interval == 10
    cfg = load_config(DVAE, {'max_epochs': 3})
    assert schedule(cfg)[1][:2] == (1, 3)


def test_with_values__leaves_functions_and_other_names_alone():
    code = 'a = 1\ndef f():\n    a = 2\n    return a\nb = dict(a=a)'
    code += '\nfor c in ():\n    x, (a, *y) = 1, (2, 3)\nd["a"] = 4'
    lines = with_values(code, {'a': 9, 'z': 0}).splitlines()
    assert lines.count('a = 9') == 1
    assert lines.count('    a = 9') == 1
    assert lines[1] == 'a = 9'


def test_load_config__new_style_file_names_the_keys(tmp_path):
    (tmp_path / 'child.py').write_text(
        'from mmengine.config import read_base\n'
        'with read_base():\n    from .toy import *\n'
    )
    toy_project.write(tmp_path)
    with pytest.raises(ConfigError, match=r'train_dataloader.batch_size \(4'):
        load_config(tmp_path / 'child.py', {'batch_size': 8})
