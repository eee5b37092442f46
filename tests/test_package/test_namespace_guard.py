# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The folder that holds a clone is not mistaken for the package.

Python that starts there sees a folder named mmcae without ``__init__.py``.
"""

import os
import pkgutil
import shutil
import site
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import mmcae

PACKAGE = Path(mmcae.__file__).resolve().parent
ROOT = PACKAGE.parent
in_repository = pytest.mark.skipif(
    not (ROOT / 'setup.py').is_file(), reason='needs the repository'
)

# What setuptools' finder leads to: modules, but not the package's own.
NAMESPACE = """
import importlib, sys
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec

package = module_from_spec(ModuleSpec('mmcae', None, is_package=True))
package.__path__ = [{clone!r}, {package!r}]
sys.modules['mmcae'] = package
for name in {names!r}:
    try:
        importlib.import_module('mmcae.' + name)
    except ImportError as error:
        print(name, 'refused:', error)
    else:
        print(name, 'imported')
"""
# Guarded by nothing: a number that setup.cfg reads, and the guard itself.
UNGUARDED = {'version', 'namespace_guard'}

# Without an mmcae that is installed in this environment.
FROM_PARENT = """
import site, sys
from pathlib import Path

sys.meta_path[:] = [
    finder for finder in sys.meta_path
    if 'editable' not in str(getattr(finder, '__module__', ''))
]
sys.path[:] = [
    p for p in sys.path if not Path(p, 'mmcae', '__init__.py').is_file()
]
site.addsitedir({site!r})
import mmcae
print(mmcae.__file__)
"""


def run(command: list, folder: Path) -> str:
    environ = {k: v for k, v in os.environ.items() if k != 'PYTHONPATH'}
    result = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
    )
    output = result.stdout + result.stderr
    assert result.returncode == 0, output[-3000:]
    return result.stdout


@pytest.fixture
def clone(tmp_path):
    """A copy of what an installation needs, in a folder named mmcae."""
    folder = tmp_path / 'mmcae'
    folder.mkdir()
    for name in ('setup.py', 'setup.cfg', 'pyproject.toml', 'README.md'):
        shutil.copy(ROOT / name, folder)
    for name in ('configs', 'tools', 'demo', 'model-index.yml'):
        (folder / name).symlink_to(ROOT / name)
    shutil.copytree(
        PACKAGE,
        folder / 'mmcae',
        ignore=shutil.ignore_patterns('__pycache__', '.mim'),
    )
    return folder


def test_guard__refuses_every_part_of_a_namespace_package(tmp_path):
    names = {module.name for module in pkgutil.iter_modules([str(PACKAGE)])}
    assert {'registry', 'models', 'utils', 'apis'} <= names
    names = sorted(names - UNGUARDED)
    code = NAMESPACE.format(
        clone=str(tmp_path / 'mmcae'), package=str(PACKAGE), names=names
    )
    lines = run([sys.executable, '-c', code], tmp_path).splitlines()
    accepted = [line for line in lines if 'refused: Python took' not in line]
    assert not accepted
    assert len(lines) == len(names)
    assert str(tmp_path / 'mmcae') in lines[0]
    assert 'pip install -e .' in lines[0]


@in_repository
def test_editable_wheel__carries_a_plain_path(clone, tmp_path):
    code = f"""
import os
from setuptools import build_meta
os.chdir({str(clone)!r})
build_meta.build_editable({str(tmp_path)!r})
"""
    run([sys.executable, '-c', code], tmp_path)
    (wheel,) = tmp_path.glob('*.whl')
    folder = tmp_path / 'site'
    zipfile.ZipFile(wheel).extractall(folder)
    assert not list(folder.glob('*.py')), 'a finder, which comes too late'
    code = FROM_PARENT.format(site=str(folder))
    found = run([sys.executable, '-c', code], tmp_path).split()[-1]
    assert Path(found) == clone / 'mmcae' / '__init__.py'


@in_repository
@pytest.mark.slow
def test_editable_install__is_imported_from_the_folder_above(clone, tmp_path):
    run([sys.executable, '-m', 'venv', '--without-pip', 'env'], tmp_path)
    python = tmp_path / 'env' / 'bin' / 'python'
    (packages,) = (tmp_path / 'env' / 'lib').glob('python*/site-packages')
    # Borrowed packages, without their .pth files: see test_wheel.py.
    (packages / 'zz-borrowed.pth').write_text(
        '\n'.join(site.getsitepackages())
    )
    run(
        [
            sys.executable,
            '-m',
            'pip',
            '--python',
            python,
            'install',
            '-q',
            '--no-deps',
            '--no-build-isolation',
            '-e',
            clone,
        ],
        tmp_path,
    )
    code = (
        'import mmcae, mmpretrain\n'
        "assert 'cae_tiny-p8_1xb32-coslr-80e_digits-32px' in "
        'mmpretrain.list_models()\n'
        'print(mmcae.__version__, mmcae.__file__)\n'
    )
    (tmp_path / 'beside.py').write_text(code)
    for script in ([python, '-c', code], [python, 'beside.py']):
        version, file = run(script, tmp_path).split()[-2:]
        assert version == mmcae.__version__
        assert Path(file) == clone / 'mmcae' / '__init__.py'
