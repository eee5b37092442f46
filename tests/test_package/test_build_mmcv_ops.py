# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""``requirements/build_mmcv_ops.py``: which wheel is used, when one is built.

Nothing is compiled here: the wheels are files that say whether they work.
"""

import importlib.util
import os
import sysconfig
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / 'requirements' / 'build_mmcv_ops.py'
VERSIONS = dict(
    mmcv='2.3.6',
    torch='2.9.1+cu128',
    python='cpython-311',
    platform='linux-x86_64',
)


@pytest.fixture
def script():
    spec = importlib.util.spec_from_file_location('build_mmcv_ops', SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Environment:
    """Wheels are text files; ``'good'`` ones work."""

    def __init__(self, installed='pure', built='good'):
        self.installed = installed
        self.built = built
        self.calls = []

    def works(self):
        return self.installed == 'good'

    def install(self, wheel):
        self.calls.append('install')
        self.installed = wheel.read_text()

    def build(self, folder):
        self.calls.append('build')
        wheel = folder / 'mmcv.whl'
        wheel.write_text(self.built)
        return wheel

    def provide(self, script, folder):
        return script.provide(folder, self.works, self.install, self.build)


@pytest.mark.parametrize('changed', [*VERSIONS, 'FORCE_CUDA'])
def test_wheel_folder__each_version_has_its_own(script, changed):
    environ = {'XDG_CACHE_HOME': '/cache'}
    folder = script.wheel_folder(environ, **VERSIONS)
    assert folder.parent == Path('/cache/mmcae/wheels')
    if changed == 'FORCE_CUDA':
        other = script.wheel_folder({**environ, changed: '1'}, **VERSIONS)
    else:
        other = script.wheel_folder(environ, **{**VERSIONS, changed: 'other'})
    assert other != folder


def test_wheel_folder__is_below_home_without_xdg(script):
    for environ in ({}, {'XDG_CACHE_HOME': ''}):
        folder = script.wheel_folder(environ, **VERSIONS)
        assert Path.home() / '.cache' in folder.parents


def test_build_environment__keeps_what_the_user_sets(script):
    env = script.build_environment({'MAX_JOBS': '3'}, cores=8)
    assert env['MAX_JOBS'] == '3'
    assert env['MMCV_WITH_OPS'] == '1'
    assert env['CUDA_VISIBLE_DEVICES'] == ''
    env = script.build_environment({'FORCE_CUDA': '1', 'CFLAGS': '-O2'}, 8)
    assert env['MAX_JOBS'] == '8'
    assert env['CFLAGS'] == '-O2'
    assert 'CUDA_VISIBLE_DEVICES' not in env


def test_build_environment__finds_the_ninja_of_this_environment(script):
    env = script.build_environment({'PATH': '/usr/bin'}, cores=1)
    scripts = sysconfig.get_path('scripts')
    assert env['PATH'].split(os.pathsep) == [scripts, '/usr/bin']


def test_provide__working_operators_are_left_alone(script, tmp_path):
    environment = Environment(installed='good')
    environment.provide(script, tmp_path)
    assert environment.calls == []


def test_provide__compiles_once(script, tmp_path):
    folder = tmp_path / 'wheels'
    first, second = Environment(), Environment()
    first.provide(script, folder)
    assert first.calls == ['build', 'install']
    assert [path.name for path in folder.iterdir()] == ['mmcv.whl']
    second.provide(script, folder)
    assert second.calls == ['install']
    assert second.works()


def test_provide__a_cached_wheel_that_fails_is_compiled_anew(script, tmp_path):
    (tmp_path / 'mmcv.whl').write_text('broken')
    environment = Environment()
    environment.provide(script, tmp_path)
    assert environment.calls == ['install', 'build', 'install']
    assert (tmp_path / 'mmcv.whl').read_text() == 'good'


def test_provide__a_new_wheel_that_fails_is_not_kept(script, tmp_path):
    environment = Environment(built='broken')
    with pytest.raises(RuntimeError, match='do not work'):
        environment.provide(script, tmp_path)
    assert not list(tmp_path.iterdir())
