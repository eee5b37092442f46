# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The version check at import."""

import subprocess
import sys
from importlib import metadata

import pytest

from mmcae.utils.version_check import (
    REQUIREMENTS,
    Requirement,
    check_versions,
    installed_version,
    release_tuple,
)


@pytest.mark.parametrize(
    ('text', 'numbers'),
    [
        ('2.9.1+cu128', (2, 9, 1)),
        ('2.0.0', (2,)),
        ('1.0rc2', (1,)),
        ('0.10.12.post3', (0, 10, 12)),
        ('3', (3,)),
    ],
)
def test_release_tuple__reads_the_leading_numbers(text, numbers):
    assert release_tuple(text) == numbers


def test_release_tuple__orders_by_number_not_by_letter():
    assert release_tuple('0.9.1') < release_tuple('0.10.4')


@pytest.mark.parametrize(
    ('module', 'version', 'good'),
    [
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
        ('torch', '2.10.0', True),
        ('torch', '2.14.1+cpu', True),
        ('torch', '2.9.1+cu128', False),
        ('torch', '1.13.1', False),
    ],
)
def test_accepts__upstream_and_fork(module, version, good):
    requirement = {item.module: item for item in REQUIREMENTS}[module]
    assert requirement.accepts(version) is good


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


def test_check_versions__missing_package_and_optional_one():
    gone = Requirement('no_such_module', '1', '2', ('no-such',), 'no-such==1')
    with pytest.raises(ImportError, match='no_such_module: not installed'):
        check_versions((gone,))
    check_versions(
        (Requirement('no_such_module', '1', '2', ('no-such',), 'x', True),)
    )


def test_installed_version__source_tree_without_metadata(
    tmp_path, monkeypatch
):
    (tmp_path / 'bare_pkg.py').write_text("__version__ = '7.1'\n")
    monkeypatch.syspath_prepend(tmp_path)
    bare = Requirement('bare_pkg', '7', '8', ('bare-pkg',), 'bare-pkg')
    assert installed_version(bare) == '7.1'


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
