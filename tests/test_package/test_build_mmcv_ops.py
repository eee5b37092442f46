# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""``tools/build_mmcv_ops.py``: which wheel is used, when one is built.

Nothing is compiled here: the wheels are files that say whether they work.
"""

import importlib.util
import os
import subprocess
import sysconfig
from pathlib import Path

import pytest

_SCRIPT = Path(__file__).parents[2] / 'tools/build_mmcv_ops.py'
_SPEC = importlib.util.spec_from_file_location('build_mmcv_ops', _SCRIPT)
build_mmcv_ops = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(build_mmcv_ops)
VERSIONS = dict(
    mmcv='2.3.6',
    torch='2.14.1+cu130',
    python='cpython-311',
    platform='linux-x86_64',
)


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

    def provide(self, folder):
        return build_mmcv_ops.provide(
            folder, self.works, self.install, self.build
        )


@pytest.mark.parametrize('changed', [*VERSIONS, 'FORCE_CUDA'])
def test_wheel_folder__each_version_has_its_own(changed):
    environ = {'XDG_CACHE_HOME': '/cache'}
    folder = build_mmcv_ops.wheel_folder(environ, **VERSIONS)
    assert folder.parent == Path('/cache/mmcae/wheels')
    if changed == 'FORCE_CUDA':
        other = build_mmcv_ops.wheel_folder(
            {**environ, changed: '1'}, **VERSIONS
        )
    else:
        other = build_mmcv_ops.wheel_folder(
            environ, **{**VERSIONS, changed: 'other'}
        )
    assert other != folder


def test_wheel_folder__is_below_home_without_xdg():
    for environ in ({}, {'XDG_CACHE_HOME': ''}):
        folder = build_mmcv_ops.wheel_folder(environ, **VERSIONS)
        assert Path.home() / '.cache' in folder.parents


def test_build_environment__keeps_what_the_user_sets():
    env = build_mmcv_ops.build_environment({'MAX_JOBS': '3'}, cores=8)
    assert env['MAX_JOBS'] == '3'
    assert env['MMCV_WITH_OPS'] == '1'
    assert env['CUDA_VISIBLE_DEVICES'] == ''
    env = build_mmcv_ops.build_environment(
        {'FORCE_CUDA': '1', 'CFLAGS': '-O2'}, 8
    )
    assert env['MAX_JOBS'] == '8'
    assert env['CFLAGS'] == '-O2'
    assert 'CUDA_VISIBLE_DEVICES' not in env


def test_build_environment__finds_the_ninja_of_this_environment():
    env = build_mmcv_ops.build_environment({'PATH': '/usr/bin'}, cores=1)
    scripts = sysconfig.get_path('scripts')
    assert env['PATH'].split(os.pathsep) == [scripts, '/usr/bin']


def test_write_compiler__calls_the_real_one_with_cxx20(tmp_path):
    real = tmp_path / 'real'
    real.write_text('#!/bin/sh\nfor a do echo "<$a>"; done\n')
    real.chmod(0o755)
    script = build_mmcv_ops.write_compiler(tmp_path, f'{real} first')
    command = [script, '-std=c++17', '-c', 'a file.cpp', '-DA="b c"', '']
    output = subprocess.check_output(command, text=True)
    assert output.splitlines() == [
        '<first>',
        '<-std=c++20>',
        '<-c>',
        '<a file.cpp>',
        '<-DA="b c">',
        '<>',
    ]


def test_write_compiler__says_how_the_compiler_ended(tmp_path):
    script = build_mmcv_ops.write_compiler(tmp_path, 'false')
    assert subprocess.run([script]).returncode == 1


@pytest.mark.parametrize(
    ('torch', 'needed'),
    [
        ('2.10.0', False),
        ('2.13.0+cpu', False),
        ('2.14.1+cu130', True),
        ('2.15.0a0', True),
        ('3.0', True),
    ],
)
def test_needs_cxx20__from_torch_2_14_on(torch, needed):
    assert build_mmcv_ops.needs_cxx20(torch) is needed


@pytest.mark.parametrize('torch', ['2.13.0', '2.14.1'])
def test_compile_wheel__wraps_the_compiler_where_needed(
    torch, tmp_path, monkeypatch
):
    seen = {}

    def run_build(folder, env):
        seen['compiler'] = env.get('CXX', '')
        path = Path(seen['compiler'])
        seen['text'] = path.read_text() if path.is_file() else ''

    monkeypatch.setenv('CXX', 'c++ -pipe')
    monkeypatch.setattr(build_mmcv_ops, 'torch_version', lambda: torch)
    monkeypatch.setattr(build_mmcv_ops, 'run_build', run_build)
    build_mmcv_ops.compile_wheel(tmp_path)
    if torch == '2.13.0':
        assert seen['compiler'] == 'c++ -pipe'
    else:
        assert 'exec c++ -pipe "$@"' in seen['text']
        assert not Path(seen['compiler']).exists()


def test_provide__working_operators_are_left_alone(tmp_path):
    environment = Environment(installed='good')
    environment.provide(tmp_path)
    assert environment.calls == []


def test_provide__compiles_once(tmp_path):
    folder = tmp_path / 'wheels'
    first, second = Environment(), Environment()
    first.provide(folder)
    assert first.calls == ['build', 'install']
    assert [path.name for path in folder.iterdir()] == ['mmcv.whl']
    second.provide(folder)
    assert second.calls == ['install']
    assert second.works()


def test_provide__a_cached_wheel_that_fails_is_compiled_anew(tmp_path):
    (tmp_path / 'mmcv.whl').write_text('broken')
    environment = Environment()
    environment.provide(tmp_path)
    assert environment.calls == ['install', 'build', 'install']
    assert (tmp_path / 'mmcv.whl').read_text() == 'good'


def test_provide__a_new_wheel_that_fails_is_not_kept(tmp_path):
    environment = Environment(built='broken')
    with pytest.raises(RuntimeError, match='do not work'):
        environment.provide(tmp_path)
    assert not list(tmp_path.iterdir())
