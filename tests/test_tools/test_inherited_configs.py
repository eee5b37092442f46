# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Train with a user's own configs that inherit ``mmcae::...`` configs."""

import sys

import numpy as np
import pytest
from helpers import toy_project
from mmengine.config import Config
from PIL import Image

from mmcae.config.search_path import list_configs, resource_root
from mmcae.utils import load_config

TRAIN = resource_root() / 'tools' / 'train.py'
TOKENIZER = 'tokenizer/dvae_f8-k64_1xb32-13e_digits-32px.py'
CAE = 'cae/cae_tiny-p8_1xb32-coslr-80e_digits-32px.py'
PROBE = 'cae/benchmarks/tiny-p8_cae-pre_1xb64-linear-coslr-30e_digits-32px.py'
SHORT = """
train_dataloader = dict(batch_size=4)
train_cfg = dict(max_epochs=1)
param_scheduler = [dict(type='ConstantLR', factor=1.0)]
default_hooks = dict(
    logger=dict(interval=1), checkpoint=dict(interval=1))
"""


def inherit(folder, name, text=SHORT):
    path = folder / 'mine.py'
    path.write_text(f"_base_ = 'mmcae::{name}'\n{text}")
    return path


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    """Write two classes of four images each, below train and test."""
    root = tmp_path_factory.mktemp('images') / 'My Photos, 2026'
    rng = np.random.default_rng(0)
    for split in ('train', 'test'):
        for index in range(8):
            folder = root / split / str(index % 2)
            folder.mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 255, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f'{index}.png')
    return root


def train(folder, config, *options):
    """Run the tool in a process whose folder has no clone of mmcae."""
    command = [sys.executable, TRAIN, config, '--cfg-options', *options]
    result = toy_project.execute(command, folder)
    assert result.returncode == 0, result.stderr[-2000:]
    assert 'Epoch(train) [1]' in result.stdout + result.stderr
    return folder / 'work_dirs' / config.stem / 'epoch_1.pth'


@pytest.mark.slow
def test_train__tokenizer_then_cae_then_probe_by_inheritance(photos, tmp_path):
    folders = [tmp_path / name for name in ('tokenizer', 'cae', 'probe')]
    for folder in folders:
        folder.mkdir()
    unlabeled = f'data_root={photos / "train"}'
    tokenizer = train(folders[0], inherit(folders[0], TOKENIZER), unlabeled)
    encoder = train(
        folders[1],
        inherit(folders[1], CAE),
        unlabeled,
        f'tokenizer={tokenizer}',
        'default_hooks.checkpoint.save_optimizer=False',
    )
    probe = train(
        folders[2],
        inherit(folders[2], PROBE),
        f'data_root={photos}',
        f'checkpoint={encoder}',
        'model.head.num_classes=2',
        'data_preprocessor.num_classes=2',
    )
    assert probe.is_file()


def without_scopes(node):
    if isinstance(node, dict):
        return {
            key: without_scopes(value)
            for key, value in node.items()
            if key != '_scope_'
        }
    if isinstance(node, list | tuple):
        return [without_scopes(value) for value in node]
    return node


def scopes(node):
    if isinstance(node, dict):
        yield from [node['_scope_']] if '_scope_' in node else []
        node = list(node.values())
    if isinstance(node, list | tuple):
        for value in node:
            yield from scopes(value)


@pytest.mark.parametrize('path', list_configs(), ids=lambda path: path.stem)
def test_load_config__inherited_config_equals_the_packaged_one(path, tmp_path):
    name = path.relative_to(resource_root() / 'configs')
    mine = load_config(inherit(tmp_path, name, ''))
    packaged = load_config(path)
    assert 'mmcae' not in scopes(mine._cfg_dict)
    assert without_scopes(mine._cfg_dict) == without_scopes(packaged._cfg_dict)
    # The scope of mmpretrain's own base files stays.
    assert set(scopes(mine._cfg_dict)) == set(scopes(packaged._cfg_dict))


def test_load_config__functions_of_another_package(tmp_path):
    path = tmp_path / 'other.py'
    path.write_text(
        "a = dict(_scope_='mmseg', type='default_collate')\n"
        "b = dict(_scope_='mmseg', type='mine')\n"
        "c = dict(_scope_='mmseg', type='ResNet')\n"
        'train_dataloader = dict(collate_fn=a, worker_init_fn=b)\n'
        "optim_wrapper = dict(clip_grad=dict(_scope_='mmseg', type='norm'))\n"
        'model = dict(backbone=c)\n'
    )
    cfg = load_config(path)
    assert isinstance(cfg, Config)
    loader = cfg.train_dataloader
    assert loader.collate_fn == dict(type='default_collate')
    assert loader.worker_init_fn == dict(type='mmseg.mine')
    assert cfg.optim_wrapper.clip_grad == dict(type='norm')
    assert cfg.model.backbone._scope_ == 'mmseg'
