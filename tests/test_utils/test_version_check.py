# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The version check at import."""

import subprocess
import sys
from dataclasses import replace
from importlib import metadata

import pytest

from mmcae.utils import version_check
from mmcae.utils.version_check import (
    REQUIREMENTS,
    Requirement,
    accepts,
    check_versions,
    declared_ranges,
    find_problems,
    installed_version,
)

MODULES = {item.module: item for item in REQUIREMENTS}


def test_accepts__the_release_alone_counts(subtests):
    for version, lowest, next_release in (
        ('2.9.1+cu128', '2.9.1', '2.9.2'),
        ('2.10.0a0+cu128', '2.10', '2.10.1'),
        ('2.0.0', '2', '2.0.1'),
        ('1.0rc2', '1', '1.0.1'),
        ('0.10.12.post3', '0.10.12', '0.10.13'),
        ('3', '3', '3.0.1'),
    ):
        with subtests.test(version):
            assert accepts(f'>={lowest},<{next_release}', version)
            assert not accepts(f'>={next_release}', version)
            assert not accepts(f'<{lowest}', version)


def test_accepts__orders_by_number_not_by_letter():
    assert accepts('<0.10.4', '0.9.1')
    assert not accepts('>=0.10.4', '0.9.1')


def test_accepts__a_version_that_cannot_be_compared():
    assert accepts('>=1,<2', 'unknown')


def test_accepts__originals(subtests):
    for module, version, good in (
        ('mmengine', '0.10.4', True),
        ('mmengine', '0.10.12', True),
        ('mmengine', '0.10.3', False),
        ('mmengine', '1.0.0', False),
        ('mmcv', '2.0.0', True),
        ('mmcv', '2.2.0', True),
        ('mmcv', '2.3.6', True),
        ('mmcv', '1.7.2', False),
        ('mmpretrain', '1.2.0', True),
        ('mmpretrain', '1.3.6', True),
        ('mmpretrain', '1.1.1', False),
    ):
        with subtests.test(f'{module} {version}'):
            supported = MODULES[module].original_range
            assert accepts(supported, version) is good


def test_accepts__what_setup_cfg_declares(subtests):
    ranges = declared_ranges()
    for name, version, good in (
        ('onedl-mmengine', '0.10.12', True),
        ('onedl-mmengine', '0.10.11', False),
        ('onedl-mmengine', '1.0.0', False),
        ('onedl-mmdetection', '3.5.1', True),
        ('onedl-mmdetection', '4.0.0rc1', False),
        ('torch', '2.10.0', True),
        ('torch', '2.14.1+cpu', True),
        ('torch', '2.9.1+cu128', False),
        ('torch', '1.13.1', False),
        ('torch', '3.0.0', False),
    ):
        with subtests.test(f'{name} {version}'):
            assert accepts(ranges[name], version) is good


def test_declared_ranges__without_setup_cfg_from_the_metadata(
    tmp_path, monkeypatch
):
    lines = ['torch<3,>=2.10', 'onedl-mmsegmentation>=1; extra == "seg"']
    monkeypatch.setattr(version_check, 'SETUP_CFG', tmp_path / 'none')
    monkeypatch.setattr(metadata, 'requires', lambda name: lines)
    assert declared_ranges() == {
        'torch': '>=2.10,<3',
        'onedl-mmsegmentation': '>=1',
    }


def test_declared_ranges__another_projects_setup_cfg_is_not_ours(
    tmp_path, monkeypatch
):
    other = tmp_path / 'setup.cfg'
    other.write_text(
        '[metadata]\nname = other\n[options]\ninstall_requires = torch<1\n'
    )
    monkeypatch.setattr(version_check, 'SETUP_CFG', other)
    monkeypatch.setattr(metadata, 'requires', lambda name: ['torch>=2'])
    assert declared_ranges() == {'torch': '>=2'}


def test_check_versions__a_bare_copy_of_the_package_warns(
    tmp_path, monkeypatch
):
    def not_installed(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(version_check, 'SETUP_CFG', tmp_path / 'none')
    monkeypatch.setattr(metadata, 'requires', not_installed)
    with pytest.warns(UserWarning, match='mmcae is not installed'):
        check_versions()
    gone = Requirement('no_such_module', 'no-such==1')
    with pytest.warns(UserWarning, match='not checked'):
        ((_, text),) = find_problems((gone,))
    assert text == 'no_such_module: not installed'


def test_check_versions__accepts_this_environment():
    check_versions()


def test_check_versions__names_found_supported_and_command(monkeypatch):
    real = metadata.version

    def fake(name):
        if name == 'onedl-mmpretrain':
            raise metadata.PackageNotFoundError(name)
        return '1.0.1' if name == 'mmpretrain' else real(name)

    monkeypatch.setattr(metadata, 'version', fake)
    with pytest.raises(ImportError) as caught:
        check_versions()
    message = str(caught.value)
    assert 'mmpretrain: found 1.0.1; supported: >=1.2.0,<2.0' in message
    assert 'pip install "onedl-mmpretrain==1.3.6"' in message
    assert 'mmcv' not in message


def test_check_versions__transformers_5_beside_mmpretrain(monkeypatch):
    real = metadata.version
    versions = {'transformers': '5.24.0', 'onedl-mmpretrain': '1.3.6'}
    monkeypatch.setattr(
        metadata, 'version', lambda name: versions.get(name) or real(name)
    )
    with pytest.raises(ImportError) as caught:
        check_versions()
    message = str(caught.value)
    assert 'found 5.24.0; supported: <5 beside mmpretrain 1.3.6' in message
    assert 'pip install "transformers==4.57.6"' in message
    versions['transformers'] = '4.30.0'  # older than the extra's
    check_versions()
    versions.update({'transformers': '5.24.0', 'onedl-mmpretrain': '1.3.7'})
    check_versions()


def test_check_versions__missing_package_and_optional_one():
    gone = Requirement('no_such_module', 'no-such==1')
    with pytest.raises(ImportError, match='no_such_module: not installed'):
        check_versions((gone,))
    check_versions((replace(gone, optional=True),))


def test_check_versions__a_fork_below_the_declared_range(monkeypatch):
    real = metadata.version
    monkeypatch.setattr(
        metadata,
        'version',
        lambda name: '2.3.5' if name == 'onedl-mmcv' else real(name),
    )
    with pytest.raises(ImportError, match=r'found 2\.3\.5; supported: >=2\.3'):
        check_versions()


def test_installed_version__source_tree_without_metadata(
    tmp_path, monkeypatch
):
    (tmp_path / 'bare_pkg.py').write_text("__version__ = '7.1'\n")
    monkeypatch.syspath_prepend(tmp_path)
    bare = Requirement('bare_pkg', 'bare-pkg')
    assert installed_version(bare) == ('bare_pkg', '7.1')
    assert find_problems((bare,)) == []
    bare = replace(bare, original_range='>=8')
    ((_, text),) = find_problems((bare,))
    assert text == 'bare_pkg: found 7.1; supported: >=8'


def test_import__without_packaging_says_how_to_install_it(tmp_path):
    code = "import sys\nsys.modules['packaging.requirements'] = None\n"
    result = subprocess.run(
        [sys.executable, '-c', f'{code}import mmcae'],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert result.returncode == 1
    assert result.stderr.endswith('pip install packaging\n')


def test_import__says_at_most_a_line_beside_a_torch_not_yet_tested(tmp_path):
    code = (
        'from importlib import metadata\n'
        'real = metadata.version\n'
        "metadata.version = lambda n: '2.99' if n == 'torch' else real(n)\n"
        'import mmcae\n'
    )
    result = subprocess.run(
        [sys.executable, '-c', code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stderr
    assert len((result.stdout + result.stderr).splitlines()) <= 1


def test_import__reports_before_it_touches_a_missing_package(tmp_path):
    # torch cannot even be imported here, and its metadata is gone.
    code = (
        'import sys; from importlib import metadata, util\n'
        'real, find = metadata.version, util.find_spec\n'
        'def version(name):\n'
        "    if name == 'torch': raise metadata.PackageNotFoundError(name)\n"
        '    return real(name)\n'
        'metadata.version = version\n'
        'def spec(name, *rest):\n'
        "    return None if name == 'torch' else find(name, *rest)\n"
        'util.find_spec = spec\n'
        "sys.modules['torch'] = None\n"
        'import mmcae\n'
    )
    result = subprocess.run(
        [sys.executable, '-c', code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert result.returncode == 1
    assert 'torch: not installed; supported: >=2.10,<3' in result.stderr
    assert 'pip install "torch==2.14.1"' in result.stderr
