# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""`gpu_check.py`: its report, its processes, and its CPU form."""

import json
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from speed_tools import TOOLS  # makes the tools importable

import gpu_check  # isort: skip
from gpu import profiling
from gpu.process import run_apart, run_here
from gpu.registry import CHECKS, Check
from gpu.report import Report, SkipCheck, full_text
from gpu.settings import Settings

# What a check's process runs in the tests below: a check from a string.
CHILD = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tools!r})
from gpu.process import run_here
from gpu.settings import Settings
class Broken:
    def run(self, settings, report):
        report.note('begun', 1)
        {body}
run_here(Broken(), Settings('cpu', Path('.')), Path({path!r}))
"""


def run_child(path, body, seconds=60):
    text = CHILD.format(tools=str(TOOLS), body=body, path=str(path))
    return run_apart([sys.executable, '-c', text], path, seconds)


def test_report__requirements_goals_and_notes(tmp_path):
    report = Report(tmp_path / 'one.json')
    assert report.require('small', 1.0, most=2.0)
    assert not report.goal('fast', 1.0, least=2.0)
    report.note('card', 'a | b')
    assert report.status == 'passed'  # a goal fails nothing
    assert not report.require('not a number', float('nan'), most=2.0)
    assert report.status == 'failed'
    saved = json.loads((tmp_path / 'one.json').read_text())
    states = [row['status'] for row in saved['rows']]
    assert states == ['passed', 'not reached', 'noted', 'failed']
    result = {**saved, 'status': 'failed', 'title': 'all', 'seconds': 3.2}
    text = full_text({'one': result}, 'a card')
    assert '| one: all | failed | 3 | not a number |' in text
    assert '| fast | 1 | >= 2 | not reached |' in text
    assert '| card | a / b |  | noted |' in text


def test_report__a_check_that_could_measure_nothing_is_skipped():
    report = Report()
    report.skip('host waits', 'needs a GPU')
    assert report.status == 'skipped'


def test_run_here__an_error_is_recorded_with_its_traceback(tmp_path):
    class Broken:
        def run(self, settings, report):
            report.require('first', True)
            raise ValueError('no such kernel')

    class Missing:
        def run(self, settings, report):
            raise SkipCheck('timm is missing')

    settings, path = Settings('cpu', tmp_path), tmp_path / 'x.json'
    run_here(Broken(), settings, path)
    result = json.loads(path.read_text())
    assert result['status'] == 'failed'
    assert result['reason'] == 'ValueError: no such kernel'
    assert 'raise ValueError' in result['traceback']
    assert result['rows'][0]['status'] == 'passed'
    run_here(Missing(), settings, path)
    result = json.loads(path.read_text())
    assert (result['status'], result['reason']) == (
        'skipped',
        'timm is missing',
    )


@pytest.mark.slow
def test_run_apart__a_check_that_hangs_is_stopped_and_keeps_its_rows(tmp_path):
    result = run_child(tmp_path / 'x.json', 'time.sleep(600)', seconds=20)
    assert result['status'] == 'failed'
    assert result['reason'] == 'stopped after its time limit of 20 s'
    assert result['seconds'] < 60
    assert [row['what'] for row in result['rows']] == ['begun']


def test_run_apart__a_process_that_dies_is_a_failure(tmp_path):
    body = 'import os; print("last words", flush=True); os.abort()'
    result = run_child(tmp_path / 'x.json', body)
    assert result['status'] == 'failed'
    assert result['reason'] == 'its process ended with status -6'
    assert 'last words' in result['traceback']
    assert [row['what'] for row in result['rows']] == ['begun']


def test_covered__kernels_that_overlap_count_once():
    assert profiling.covered([(0, 4), (2, 3), (6, 8)]) == (6, 8)
    assert profiling.covered([]) == (0, 0)


def test_main__a_broken_check_hides_no_other(tmp_path, monkeypatch, capsys):
    def child(script, name, path, settings):
        body = 'raise RuntimeError("broken")' if name == 'parity' else 'pass'
        text = CHILD.format(tools=str(TOOLS), body=body, path=str(path))
        return [sys.executable, '-c', text]

    monkeypatch.setattr('gpu.process.child_command', child)
    names = ['environment', 'parity', 'amp']
    options = ['--device', 'cpu', '--out', str(tmp_path), '--only', *names]
    assert gpu_check.main(options) == 1
    result = json.loads((tmp_path / 'gpu_check.json').read_text())
    assert result['failed'] == ['parity']
    assert list(result['checks']) == names
    assert 'RuntimeError: broken' in (tmp_path / 'gpu_check.md').read_text()
    assert gpu_check.main([*options, '--skip', 'parity']) == 0
    # No time left: said, and a failure.
    assert gpu_check.main([*options, '--minutes', '0']) == 1
    assert 'the 0 minutes were spent' in capsys.readouterr().out


def test_main__options(tmp_path, capsys, monkeypatch):
    assert gpu_check.main(['--list']) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(':')[0] for line in lines] == list(CHECKS)
    assert gpu_check.main(['--device', 'cpu', '--only', 'speed']) == 2
    assert "no check ['speed']" in capsys.readouterr().err
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    assert gpu_check.main(['--out', str(tmp_path)]) == 2
    assert 'finds no GPU' in capsys.readouterr().err
    with pytest.raises(SystemExit, match='no requirements'):
        gpu_check.main(['--install-from', str(tmp_path)])


@pytest.mark.parametrize('name', ['environment', 'parity', 'amp'])
def test_check__small_form_passes(name, tmp_path):
    report = Report()
    CHECKS[name].run(Settings('cpu', tmp_path), report)
    assert report.status == 'passed', report.rows


def test_limits__of_a_gpu_and_of_a_long_run(tmp_path):
    check = Check('gpu.amp', 'amp', 40, 120)
    assert check.limit(Settings('cuda', tmp_path)) == 40
    assert check.limit(Settings('cpu', tmp_path)) == 120
    assert check.limit(Settings('cpu', tmp_path, long=True)) == 1200


def test_install_from__wheels_of_a_folder_beside_what_is_there(
    tmp_path, monkeypatch
):
    # As setuptools' file by which Python 3.12 finds distutils.
    outer = tmp_path / 'outer-packages'
    outer.mkdir()
    (outer / 'shim.pth').write_text('import sys; sys.shim = 7\n')
    monkeypatch.syspath_prepend(outer)
    wheels = tmp_path / 'wheels'
    wheels.mkdir()
    name = 'only_in_the_wheelhouse'
    info = f'{name}-1.0.dist-info'
    files = {
        f'{name}.py': 'VALUE = 3\n',
        f'{info}/METADATA': f'Metadata-Version: 2.1\nName: {name}\n'
        'Version: 1.0\nRequires-Dist: not-there\n',
        f'{info}/WHEEL': 'Wheel-Version: 1.0\nGenerator: test\n'
        'Root-Is-Purelib: true\nTag: py3-none-any\n',
    }
    record = ''.join(f'{path},,\n' for path in (*files, f'{info}/RECORD'))
    wheel = wheels / f'{name}-1.0-py3-none-any.whl'
    with zipfile.ZipFile(wheel, 'w') as archive:
        for path, text in {**files, f'{info}/RECORD': record}.items():
            archive.writestr(path, text)
    (wheels / 'requirements.txt').write_text(f'{name}==1.0\n')
    python = gpu_check.install_from(wheels, tmp_path / 'out')
    assert python.is_relative_to(tmp_path / 'out-env')
    code = f'import sys, {name}, torch, mmengine; '
    code += f'print({name}.VALUE, sys.shim)'
    done = subprocess.run(
        [python, '-c', code], capture_output=True, text=True, check=True
    )
    assert done.stdout == '3 7\n'


@pytest.mark.slow
def test_main__the_whole_cpu_form(tmp_path):
    words = ['--device', 'cpu', '--minutes', '60', '--out', str(tmp_path)]
    gpu_check.main(words)
    result = json.loads((tmp_path / 'gpu_check.json').read_text())
    assert list(result['checks']) == list(CHECKS)
    assert not result['failed']
    states = {n: c['status'] for n, c in result['checks'].items()}
    assert [n for n, s in states.items() if s == 'skipped'] == ['digits']


@pytest.mark.slow
def test_sigterm__ends_the_running_check(tmp_path):
    words = ['--device', 'cpu', '--only', 'step_time', '--out', str(tmp_path)]
    process = subprocess.Popen(
        [sys.executable, gpu_check.__file__, *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    log = tmp_path / 'checks/step_time.log'
    limit = time.monotonic() + 60
    while not log.exists():
        assert time.monotonic() < limit
        time.sleep(0.1)
    found = subprocess.run(
        ['pgrep', '-P', str(process.pid)], capture_output=True, text=True
    )
    (child,) = found.stdout.split()
    process.terminate()
    assert process.wait(20) == 143
    assert not Path('/proc', child).exists()
