# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""What the files around the package say agrees with the package."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from pins import read_pins

import mmcae
from mmcae.config.search_path import resource_root
from mmcae.utils.version_check import (
    REQUIREMENTS,
    accepts,
    declared_ranges,
)

ROOT = Path(mmcae.__file__).resolve().parent.parent
in_repository = pytest.mark.skipif(
    not (ROOT / 'setup.cfg').is_file(), reason='needs the repository'
)


@in_repository
def test_citation__has_the_version_of_the_package():
    citation = yaml.safe_load((ROOT / 'CITATION.cff').read_text())
    assert citation['version'] == mmcae.__version__
    assert citation['license'] == 'Apache-2.0'


@in_repository
def test_licence__is_the_full_text():
    text = (ROOT / 'LICENSE').read_text()
    assert 'Apache License' in text
    assert 'END OF TERMS AND CONDITIONS' in text


@in_repository
def test_requirements__setup_and_check_and_tested_stack_agree():
    ranges = declared_ranges()
    tested = read_pins()
    for requirement in REQUIREMENTS:
        name = requirement.distribution
        assert accepts(ranges[name], tested[name]), name
        assert requirement.install == f'{name}=={tested[name]}'


@in_repository
def test_version__is_read_without_importing_the_package(tmp_path):
    code = (
        'import runpy, sys\n'
        f"space = runpy.run_path('{ROOT / 'mmcae' / 'version.py'}')\n"
        "print(space['__version__'])\n"
    )
    result = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True
    )
    assert result.stdout.strip() == mmcae.__version__


def test_tools__are_where_mim_looks():
    tools = resource_root() / 'tools'
    for name in ('train.py', 'test.py'):
        assert (tools / name).is_file()
    for name in ['dist_train', 'dist_test', 'slurm_train', 'slurm_test']:
        assert (tools / f'{name}.sh').stat().st_mode & 0o100, name


def test_get_installed_path__leads_to_configs_and_tools():
    from mmengine.utils import get_installed_path

    mim = Path(get_installed_path('mmcae')) / '.mim'
    if not mim.is_dir():
        pytest.skip('a plain source tree has no .mim')
    assert (mim / 'tools' / 'train.py').is_file()
    assert (mim / 'configs').is_dir()
    assert (mim / 'model-index.yml').is_file()


def test_config__other_packages_can_inherit(tmp_path):
    from mmengine.config import Config
    from mmengine.utils import get_installed_path

    if not (Path(get_installed_path('mmcae')) / '.mim').is_dir():
        pytest.skip('a plain source tree has no .mim')
    name = 'cae_beit-base-p16_8xb256-amp-coslr-300e_in1k'
    child = tmp_path / 'child.py'
    child.write_text(
        f"_base_ = 'mmcae::cae/{name}.py'\n"
        'train_dataloader = dict(batch_size=7)\n'
    )
    cfg = Config.fromfile(child)
    assert cfg.model.type == 'mmcae.CAE'
    assert cfg.train_dataloader.batch_size == 7
