# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""``requirements/pins.py``: merging, reading and checking pins."""

from pathlib import Path

import lanes
import pins
import pytest
from packaging.requirements import Requirement

FILES = (pins.TESTED, pins.CUDA)
PYTHONS = sorted({lane.python for lane in lanes.LANES})
needs_pins = pytest.mark.skipif(
    not pins.TESTED.is_file(), reason='needs the repository'
)


def lines_of(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if line[0] != '#']


def test_merge__a_marker_only_where_versions_differ():
    merged = pins.merge(
        {
            '3.10': {'numpy': '2.2.6', 'scipy': '1.15.3', 'tomli': '2.3.0'},
            '3.11': {'numpy': '2.2.6', 'scipy': '1.17.1'},
            '3.12': {'numpy': '2.2.6', 'scipy': '1.17.1'},
        }
    )
    assert merged == {
        'numpy': ['numpy==2.2.6'],
        'scipy': [
            'scipy==1.15.3; python_version < "3.11"',
            'scipy==1.17.1; python_version >= "3.11"',
        ],
        'tomli': ['tomli==2.3.0'],
    }


def test_merge__a_version_in_between_names_its_pythons():
    versions = dict(zip(('3.10', '3.11', '3.12', '3.13'), 'abba', strict=True))
    merged = pins.merge({python: {'x': v} for python, v in versions.items()})
    assert merged['x'] == [
        'x==a; python_version == "3.10" or python_version == "3.13"',
        'x==b; python_version == "3.11" or python_version == "3.12"',
    ]


def test_read_pins__takes_the_lines_of_the_python_asked_for(tmp_path):
    path = tmp_path / 'pins.txt'
    path.write_text(
        '# a comment\n'
        'a==1.0\n'
        'b==1.0; python_version < "3.11"\n'
        'b==2.0; python_version >= "3.11"\n'
        'c==1.0; python_version == "3.10" or python_version == "3.12"\n'
        'c==2.0; python_version == "3.9"\n'
    )
    old = pins.read_pins([path], (3, 10))
    assert old == {'a': '1.0', 'b': '1.0', 'c': '1.0'}
    new = pins.read_pins([path], (3, 12))
    assert new == {'a': '1.0', 'b': '2.0', 'c': '1.0'}
    assert pins.read_pins([path], (3, 9)) == {
        'a': '1.0',
        'b': '1.0',
        'c': '2.0',
    }


def test_kept_lines__all_but_the_free_ones(tmp_path, monkeypatch):
    path = tmp_path / 'pins.txt'
    marker = '; python_version < "3.11"'
    path.write_text(f'# why\na==1\nbig-name==1{marker}\nc==1{marker}\n')
    monkeypatch.setattr(pins, 'HEADERS', {path: ''})
    assert pins.kept_lines(['Big_Name']) == ['a==1', f'c==1{marker}']
    assert len(pins.kept_lines([])) == 3


@needs_pins
def test_makefile__installs_the_extras_of_the_lanes():
    makefile = pins.HERE.parent / 'Makefile'
    assert f"-e '.[{lanes.EXTRAS}]'" in makefile.read_text()


def test_find_unpinned__names_what_is_missing_and_what_differs():
    pinned = {'a': '1.0', 'torch': '2.14.1'}
    assert not pins.find_unpinned(
        {'a': '1.0', 'torch': '2.14.1+cpu', 'mmcae': '0.1.0'}, pinned
    )
    assert pins.find_unpinned({'a': '1.1', 'new': '3'}, pinned) == [
        'a==1.1, pinned is 1.0',
        'new==3 is not pinned',
    ]
    found = {'torch': '2.10.0', 'nvidia-nccl-cu12': '2.2', 'triton': '3.6'}
    assert len(pins.find_unpinned(found, pinned)) == 3
    assert not pins.find_unpinned(found, pinned, free=['torch'])


def test_check__fails_for_an_environment_with_another_package(monkeypatch):
    monkeypatch.setattr(pins, 'read_pins', lambda: {'torch': '2.14.1'})
    with pytest.raises(SystemExit, match=r'pytest==.* is not pinned'):
        pins.check(free=[])


@needs_pins
@pytest.mark.parametrize('python', PYTHONS)
def test_files__pin_each_package_once_and_exactly(python):
    names = []
    numbers = tuple(map(int, python.split('.')))
    for path in FILES:
        for line in lines_of(path):
            requirement = Requirement(line)
            (specifier,) = requirement.specifier
            assert specifier.operator == '=='
            assert requirement.name == pins.normalize(requirement.name)
            assert pins.is_cuda(requirement.name) == (path == pins.CUDA)
            environment = {'python_version': python}
            marker = requirement.marker
            if marker is None or marker.evaluate(environment):
                names.append(requirement.name)
                version = specifier.version
                assert pins.read_pins([path], numbers)[names[-1]] == version
    assert len(names) == len(set(names))
    # What is named by hand, and a few that others bring.
    assert {'torch', 'numpy', 'ruff', 'pip', 'furo', 'jinja2'} <= set(names)


@needs_pins
def test_files__have_what_was_chosen_by_hand():
    chosen = pins.HERE / 'tested.in'
    assert set(lines_of(chosen)) <= set(lines_of(pins.TESTED))
