# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""``requirements/lanes.py``: what is run where, and what is written down."""

import configparser
import json
import sys
from pathlib import Path

import lanes
import pytest

LANES = {lane.name: lane for lane in lanes.LANES}
PYTHON = '{}.{}'.format(*sys.version_info)


def test_lanes__each_supported_python_has_one_and_the_reverse():
    setup = configparser.ConfigParser()
    setup.read(lanes.ROOT / 'setup.cfg')
    declared = {
        line.split(' :: ')[-1]
        for line in setup['metadata']['classifiers'].splitlines()
        if ':: 3.' in line
    }
    assert declared == {lane.python for lane in lanes.LANES}


def test_lane_pins__the_floor_has_the_lowest_torch_and_no_cuda():
    lowest = lanes.floors()
    assert set(lowest) == {'torch', 'torchvision'}
    pins = lanes.lane_pins(LANES['floor'])
    assert f'torch=={lowest["torch"]}' in pins
    assert len([p for p in pins if p.startswith('torch==')]) == 1
    assert not [p for p in pins if p.startswith('nvidia-')]
    recommended = lanes.lane_pins(LANES['recommended'])
    assert f'torch=={lowest["torch"]}' not in recommended
    assert [p for p in recommended if p.startswith('nvidia-')]


def test_find_python__this_one_and_none():
    path = lanes.find_python(PYTHON)
    assert path
    assert Path(path).exists()
    assert lanes.find_python('2.0') is None


def test_find_python__a_program_that_answers_otherwise_is_not_it(
    tmp_path, monkeypatch
):
    shim = tmp_path / 'python3.99'
    shim.write_text('#!/bin/sh\necho 3.11\nexit 127\n')
    shim.chmod(0o755)
    monkeypatch.setenv('PATH', str(tmp_path))
    monkeypatch.setenv('PYENV_ROOT', str(tmp_path))
    assert lanes.find_python('3.99') is None
    shim.write_text('#!/bin/sh\necho 3.99\n')
    assert lanes.find_python('3.99') == str(shim)


def test_run_lane__a_missing_interpreter_is_a_problem(tmp_path):
    lane = lanes.Lane('old', '2.0')
    found = lanes.run_lane(lane, tmp_path, core=False)
    assert found == dict(problem='no Python 2.0 on this machine')


def test_main__reports_a_missing_interpreter_and_records_nothing(
    tmp_path, monkeypatch, capsys
):
    record = tmp_path / 'lanes.json'
    monkeypatch.setattr(lanes, 'RECORD', record)
    monkeypatch.setattr(lanes, 'LANES', (lanes.Lane('old', '2.0'),))
    monkeypatch.setattr(sys, 'argv', ['lanes.py', 'old'])
    with pytest.raises(SystemExit, match='did not pass: old'):
        lanes.main()
    assert 'no Python 2.0' in capsys.readouterr().out
    assert not record.exists()


def test_main__records_a_run_that_fails_too(tmp_path, monkeypatch):
    record = tmp_path / 'lanes.json'
    record.write_text('{"other": {}}')
    tests = dict(passed=2, skipped=0, failed=1)
    monkeypatch.setattr(lanes, 'RECORD', record)
    monkeypatch.setattr(lanes, 'run_lane', lambda *_: dict(tests=tests))
    monkeypatch.setattr(sys, 'argv', ['lanes.py', 'floor', '--core'])
    with pytest.raises(SystemExit, match='did not pass: floor'):
        lanes.main()
    assert json.loads(record.read_text()) == {'other': {}}
    monkeypatch.setattr(sys, 'argv', ['lanes.py', 'floor'])
    with pytest.raises(SystemExit, match='did not pass: floor'):
        lanes.main()
    assert json.loads(record.read_text())['floor'] == dict(tests=tests)


def test_main__an_unknown_lane_is_an_error(monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['lanes.py', 'flor'])
    with pytest.raises(SystemExit):
        lanes.main()
    assert 'no lane flor' in capsys.readouterr().err


def test_count_tests__reads_pytests_report(tmp_path):
    report = tmp_path / 'report.xml'
    report.write_text(
        '<testsuites><testsuite tests="10" skipped="3" failures="1" '
        'errors="1"/></testsuites>'
    )
    expected = dict(passed=5, skipped=3, failed=2)
    assert lanes.count_tests(report) == expected


def test_core__exists():
    for folder in lanes.CORE:
        assert list((lanes.ROOT / folder).rglob('test_*.py')), folder
    assert (lanes.ROOT / lanes.OWN_TESTS).is_file()
