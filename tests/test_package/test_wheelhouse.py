# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""``requirements/wheelhouse.py``: which wheels are collected, and how.

Nothing is downloaded: the wheels are made here, and pip is replaced.
"""

import importlib.util
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import wheelhouse
from packaging.requirements import Requirement
from pins import TESTED

pytestmark = pytest.mark.skipif(
    not TESTED.is_file(), reason='needs the repository'
)
HERE = '.'.join(map(str, sys.version_info[:2]))
OTHER = f'3.{sys.version_info.minor + 1}'
TARGET = wheelhouse.Target('3.12', 'x86_64')


def make_wheel(folder, name, requires=(), tag='py3-none-any') -> Path:
    """A wheel of version 1.0 with nothing but its metadata."""
    path = folder / f'{name}-1.0-{tag}.whl'
    lines = ['Metadata-Version: 2.1', f'Name: {name}', 'Version: 1.0']
    lines += [f'Requires-Dist: {line}' for line in requires]
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr(f'{name}-1.0.dist-info/METADATA', '\n'.join(lines))
    return path


def test_requirements_of__markers_are_those_of_the_other_machine(tmp_path):
    wheel = make_wheel(
        tmp_path,
        'package',
        [
            'always>=2',
            'old; python_version < "3.11"',
            'new; python_version >= "3.12"',
            'windows; sys_platform == "win32"',
            'processor; platform_machine == "x86_64"',
            'optional; extra == "dev"',
        ],
    )
    found = wheelhouse.requirements_of(wheel, TARGET)
    assert [r.name for r in found] == ['always', 'new', 'processor']
    arm = wheelhouse.Target('3.10', 'aarch64')
    found = wheelhouse.requirements_of(wheel, arm)
    assert [r.name for r in found] == ['always', 'old']


def test_collect__all_that_is_required_once_without_the_image(tmp_path):
    requires = {
        'mmcae': ['torch', 'Some.Package', 'scipy', 'leaf'],
        'some-package': ['leaf', 'triton', 'nvidia-nccl-cu13'],
        'leaf': ['some_package'],  # a circle
        'torch': ['sympy'],
    }
    fetched = []

    def fetch(requirement):
        name = wheelhouse.normalize(requirement.name)
        fetched.append(name)
        file_name = name.replace('-', '_')
        return make_wheel(tmp_path, file_name, requires[name])

    wanted = [Requirement('mmcae')]
    found = wheelhouse.collect(wanted, fetch, TARGET, {'torch', 'scipy'})
    assert fetched == ['mmcae', 'some-package', 'leaf']
    assert list(found) == fetched
    wheelhouse.write_requirements(tmp_path, found)
    lines = (tmp_path / 'requirements.txt').read_text().splitlines()
    assert lines[1:] == ['leaf==1.0', 'mmcae==1.0', 'some-package==1.0']
    table, megabytes = wheelhouse.describe(found)
    assert '| 3 wheels |' in table
    size = sum(wheel.stat().st_size for wheel in found.values())
    assert megabytes == pytest.approx(size / 1e6)


@pytest.mark.parametrize(
    ('python', 'tag', 'expected'),
    [
        (OTHER, 'py3-none-any', True),
        (OTHER, 'py2.py3-none-any', True),
        (OTHER, 'cp311-cp311-linux_x86_64', False),
        (HERE, 'cp311-cp311-linux_x86_64', True),
    ],
)
def test_target__a_compiled_wheel_runs_with_this_python_only(
    python, tag, expected
):
    target = wheelhouse.Target(python, 'x86_64')
    assert target.runs(Path(f'package-1.0-{tag}.whl')) is expected


class Pip:
    """Stands in for pip: ``download`` knows some packages, all are built."""

    def __init__(self, known, built='py3-none-any'):
        self.known, self.built, self.commands = known, built, []

    def __call__(self, command, env, **_):
        self.commands.append(command)
        name = Requirement(command[-1]).name.replace('-', '_')
        if 'download' in command:
            folder = Path(command[command.index('-d') + 1])
            tag = 'cp312-cp312-manylinux_2_28_x86_64'
            if name not in self.known:
                return SimpleNamespace(returncode=1)
        else:
            assert env['MMCV_WITH_OPS'] == '0'
            folder, tag = Path(command[command.index('-w') + 1]), self.built
        make_wheel(folder, name, tag=tag)
        return SimpleNamespace(returncode=0)


def test_fetcher__pinned_downloaded_or_built(tmp_path, monkeypatch):
    pip = Pip(known={'scipy'})
    monkeypatch.setattr(subprocess, 'run', pip)
    pins = {'scipy': '1.0', 'onedl-mmcv': '1.0'}
    fetch = wheelhouse.Fetcher(tmp_path, TARGET, pins)
    wheel = fetch(Requirement('SciPy>=0.5'))
    assert (
        wheel == tmp_path / 'scipy-1.0-cp312-cp312-manylinux_2_28_x86_64.whl'
    )
    assert wheel.is_file()
    download = pip.commands[-1]
    assert download[-1] == 'scipy==1.0'
    at = download.index('--python-version')
    assert download[at + 1] == '3.12'
    assert '--no-deps' in download
    assert 'manylinux_2_28_x86_64' in download
    assert 'manylinux_2_29_x86_64' not in download

    built = fetch(Requirement('onedl-mmcv'))
    assert built.name == 'onedl_mmcv-1.0-py3-none-any.whl'
    assert [c[3] for c in pip.commands[-2:]] == ['download', 'wheel']
    # Without a pin, what the package asks for.
    fetch(Requirement('unknown>=3,<4'))
    assert Requirement(pip.commands[-1][-1]) == Requirement('unknown<4,>=3')
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_fetcher__compiled_code_for_another_python_is_refused(
    tmp_path, monkeypatch
):
    pip = Pip(known=(), built='cp311-cp311-linux_x86_64')
    monkeypatch.setattr(subprocess, 'run', pip)
    target = wheelhouse.Target(OTHER, 'x86_64')
    fetch = wheelhouse.Fetcher(tmp_path, target, {})
    with pytest.raises(SystemExit, match=f'Python {OTHER}'):
        fetch(Requirement('compiled'))


def test_fetcher__a_failed_build_ends_the_script(tmp_path, monkeypatch):
    failed = SimpleNamespace(returncode=1)
    monkeypatch.setattr(subprocess, 'run', lambda *_, **__: failed)
    fetch = wheelhouse.Fetcher(tmp_path, TARGET, {'broken': '1.0'})
    with pytest.raises(SystemExit, match=r'could not build broken==1\.0'):
        fetch(Requirement('broken'))


def test_fetcher__mmcae_is_built_from_its_sources_alone(tmp_path, monkeypatch):
    seen = []

    def run(command, **_):
        source = Path(command[-1])
        seen.extend(path.name for path in source.iterdir())
        assert (source / 'mmcae/__init__.py').is_file()
        assert not list(source.rglob('__pycache__'))
        make_wheel(Path(command[command.index('-w') + 1]), 'mmcae')
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(subprocess, 'run', run)
    fetch = wheelhouse.Fetcher(tmp_path, TARGET, {})
    assert fetch(Requirement('mmcae')).name == 'mmcae-1.0-py3-none-any.whl'
    assert sorted(seen) == sorted(wheelhouse.SOURCES)


def test_main__names_a_python_that_it_does_not_understand(
    tmp_path, monkeypatch, capsys
):
    argv = ['wheelhouse.py', str(tmp_path), '--python', '312']
    monkeypatch.setattr(sys, 'argv', argv)
    with pytest.raises(SystemExit):
        wheelhouse.main()
    assert "'312' is no version such as 3.12" in capsys.readouterr().err


def test_sources__have_all_that_setup_copies_into_the_wheel():
    path = wheelhouse.ROOT / 'setup.py'
    spec = importlib.util.spec_from_file_location('mmcae_setup', path)
    setup = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(setup)
    assert set(setup.MIM_ENTRIES) <= set(wheelhouse.SOURCES)


def test_empty__only_what_an_earlier_run_wrote_is_removed(tmp_path):
    folder = tmp_path / 'new'
    wheelhouse.empty(folder)
    wheel = make_wheel(folder, 'package')
    with pytest.raises(SystemExit, match='holds wheels already'):
        wheelhouse.empty(folder)
    assert wheel.is_file()
    wheelhouse.write_requirements(folder, {'package': wheel})
    (folder / 'notes.txt').touch()
    wheelhouse.empty(folder)
    assert [path.name for path in folder.iterdir()] == ['notes.txt']


def test_main__fails_above_the_limit(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        wheelhouse.Fetcher,
        '__call__',
        lambda self, requirement: make_wheel(self.folder, requirement.name),
    )
    argv = ['wheelhouse.py', str(tmp_path), '--without', 'timm']
    monkeypatch.setattr(sys, 'argv', argv)
    wheelhouse.main()
    assert '| 1 wheels |' in capsys.readouterr().out
    monkeypatch.setattr(sys, 'argv', [*argv, '--limit', '0.0001'])
    with pytest.raises(SystemExit, match='MB are more than'):
        wheelhouse.main()
    argv = ['wheelhouse.py', str(tmp_path), '--with', 'SciPy']
    monkeypatch.setattr(sys, 'argv', argv)
    wheelhouse.main()
    assert 'scipy==1.0' in (tmp_path / 'requirements.txt').read_text()
