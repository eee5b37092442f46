# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Old names of configs work for one release, with a warning."""

import subprocess
import sys
import warnings

import mmengine
import pytest
from mmengine.config import Config
from mmpretrain.apis.model import ModelHub

import mmcae  # noqa: F401
from mmcae.config.renamed import RENAMED_CONFIGS, RENAMED_PARTS, current_name
from mmcae.config.search_path import (
    find_config,
    list_configs,
    resource_root,
)
from mmcae.utils import load_config

PATHS = {path.stem: path for path in list_configs()}
OLD = 'cae-base-p16-300e_upernet_8xb2-amp-160k_ade20k-512x512'
NEW = 'upernet_beit-base-p16_cae-300e-pre_8xb2-amp-160k_ade20k-512x512'
WORDS = f"the config '{OLD}' is now called '{NEW}'; the old name works until"


def renamed():
    """Expect the warning that names the new name."""
    return pytest.warns(DeprecationWarning, match=WORDS)


def test_table__maps_names_that_are_gone_to_names_that_exist():
    assert RENAMED_CONFIGS[OLD] == NEW
    assert len(set(RENAMED_CONFIGS.values())) == len(RENAMED_CONFIGS)
    assert not set(RENAMED_CONFIGS) & set(PATHS)
    assert set(RENAMED_CONFIGS.values()) <= set(PATHS)
    parts = resource_root() / 'configs/_base_/models'
    parts = {path.stem for path in parts.glob('*.py')}
    assert set(RENAMED_PARTS.values()) <= parts
    assert not set(RENAMED_PARTS) & parts


def test_current_name__leaves_other_names_alone():
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        for name in (NEW, f'mmpretrain::a/{NEW}.py', 'x', '', f'{OLD}-2'):
            assert current_name(name) == name


def test_find_config__old_names(subtests):
    for old, new in RENAMED_CONFIGS.items():
        with subtests.test(old), pytest.warns(DeprecationWarning, match=new):
            assert find_config(old) == PATHS[new]


@pytest.mark.parametrize(
    'name',
    [
        f'{OLD}.py',
        f'configs/cae/transfer/ade20k/{OLD}.py',
        f'/somewhere/else/{OLD}.py',
        f'mmcae::cae/transfer/ade20k/{OLD}.py',
    ],
)
def test_find_config__old_paths(name):
    with renamed():
        assert find_config(name).samefile(PATHS[NEW])


def test_find_config__a_file_of_that_name_is_taken_as_it_is(tmp_path):
    mine = tmp_path / f'{OLD}.py'
    mine.write_text('a = 1')
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert find_config(mine) == mine


def test_load_config__old_name():
    with renamed():
        config = load_config(OLD, {'max_iters': 7})
    assert config.filename == str(PATHS[NEW])
    assert config.train_cfg.max_iters == 7


def test_get_model__old_name():
    with renamed():
        entry = ModelHub.get(OLD)
    assert entry.name == NEW
    assert entry.config.model.type == 'mmseg.EncoderDecoder'


@pytest.mark.parametrize(
    'path',
    [f'cae/transfer/ade20k/{OLD}', '_base_/models/cae-base-p16_upernet'],
)
def test_inheritance__old_path(path, tmp_path):
    mine = tmp_path / 'mine.py'
    mine.write_text(f"_base_ = 'mmcae::{path}.py'\n")
    with pytest.warns(DeprecationWarning, match='upernet_beit-base-p16'):
        config = Config.fromfile(mine)
    assert config.model.type == 'mmseg.EncoderDecoder'


def test_hub__old_path():
    with renamed():
        config = mmengine.hub.get_config(
            f'mmcae::cae/transfer/ade20k/{OLD}.py'
        )
    assert config.filename == str(PATHS[NEW])


def test_train_tool__old_path_is_answered_with_a_warning_that_is_seen(
    tmp_path,
):
    """Python hides a DeprecationWarning that does not point at a script."""
    pytest.importorskip('mmseg')
    config = resource_root() / f'configs/cae/transfer/ade20k/{OLD}.py'
    command = [sys.executable, resource_root() / 'tools/train.py', config]
    command += ['--cfg-options', 'data_root=nowhere', 'checkpoint=no.pth']
    result = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path
    )
    (line,) = [line for line in result.stderr.splitlines() if WORDS in line]
    assert 'train.py' in line
    assert 'no config file' not in result.stderr
