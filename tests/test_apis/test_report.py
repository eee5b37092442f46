# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Read work dirs, and write pages about them."""

import fcntl
import json
import subprocess
import sys
import time
from html.parser import HTMLParser

import pytest
from helpers.exact_runs import run

from mmcae.apis.report import flat_settings, runs_table, write_report
from mmcae.apis.run_folder import (
    find_runs,
    is_running,
    merge_records,
    read_run,
)
from mmcae.checkpoint.work_dir import LOCK
from mmcae.engine.hooks import ProgressHook, ReportHook

INFO = dict(log_level='INFO')


class Reader(HTMLParser):
    """Collects the text and the addresses of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text, self.addresses, self.charts = '', [], 0
        self.feed(page)

    def handle_data(self, data):
        self.text += data

    def handle_starttag(self, tag, attrs):
        self.charts += tag == 'polyline'
        self.addresses += [v for k, v in attrs if k in ('src', 'href')]


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp('runs') / 'finished'
    run(folder, hooks=(ProgressHook(), ReportHook()), **INFO)
    return folder


def test_report_hook__writes_a_page_that_needs_no_other_file(finished):
    page = Reader((finished / 'report.html').read_text())
    assert 'Run finished' in page.text
    assert page.charts >= 2
    assert all(a.startswith('data:') for a in page.addresses)


def test_read_run__what_is_known_of_it(finished):
    found = read_run(finished)
    assert found.status == 'done'
    assert found.name == 'finished'
    assert found.checkpoint == finished / 'epoch_3.pth'
    assert [r['step'] for r in found.records][-1] == 15
    assert found.latest('loss') == found.records[-1]['loss']
    assert found.best('loss') >= found.latest('loss')
    assert found.facts['Python'].startswith('3.')
    assert not any('will be deprecated' in line for line in found.warnings)


def test_read_run__a_stopped_run_and_a_damaged_log(tmp_path):
    run(tmp_path / 'stopped', stop=6, hooks=(ProgressHook(),), **INFO)
    (scalars,) = (tmp_path / 'stopped').glob('*/vis_data/scalars.json')
    before = read_run(tmp_path / 'stopped')
    with open(scalars, 'a') as file:
        file.write('{"loss": 1.0, "lr": 0.1, "st')  # killed here
    (log,) = (tmp_path / 'stopped').glob('*/*.log')
    with open(log, 'ab') as file:
        file.write(b'2026/11/28 08:00:00 - mmengine - WARNING - bad \xff\n')
    found = read_run(tmp_path / 'stopped')
    assert found.status == 'stopped'
    assert len(found.records) == len(before.records) > 0
    assert found.warnings[:-1] == before.warnings
    assert found.warnings[-1].startswith('bad ')


@pytest.mark.parametrize('folder', ['none', '.'])
def test_read_run__refuses_what_is_no_work_dir(tmp_path, folder):
    with pytest.raises(FileNotFoundError, match=r'no (folder|run)'):
        read_run(tmp_path / folder)


def test_is_running__while_another_process_holds_the_lock(tmp_path):
    assert not is_running(tmp_path)
    lock = tmp_path / '.lock'
    code = (
        'import fcntl, sys, time; f = open(sys.argv[1], "a"); '
        'fcntl.lockf(f, fcntl.LOCK_EX); print(1, flush=True); time.sleep(60)'
    )
    with subprocess.Popen(
        [sys.executable, '-c', code, lock], stdout=subprocess.PIPE
    ) as owner:
        owner.stdout.readline()
        assert is_running(tmp_path)
        owner.kill()
    assert not is_running(tmp_path)


def test_write_report__of_a_running_process_keeps_its_lock(finished):
    lock = finished / LOCK
    code = (
        'import fcntl, sys; f = open(sys.argv[1], "a"); '
        'fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB)'
    )
    with open(lock, 'a') as own:
        fcntl.lockf(own, fcntl.LOCK_EX)
        write_report([finished], status='done')
        other = subprocess.run([sys.executable, '-c', code, lock])
        assert other.returncode != 0
    lock.unlink()


def test_merge_records__later_starts_replace_what_they_repeat():
    def steps(*numbers, value):
        return [dict(step=n, loss=value) for n in numbers]

    first = steps(10, 20, 30, value=1)
    resumed = steps(30, 40, value=2)
    assert merge_records([first, [], resumed]) == [
        *steps(10, 20, value=1),
        *resumed,
    ]
    again = steps(10, value=3)
    assert merge_records([first, resumed, again]) == again


def test_write_report__several_runs_with_what_differs(tmp_path):
    for name, lr in (('one', 0.1), ('two', 0.2)):
        start = tmp_path / name / '20260101_000000' / 'vis_data'
        start.mkdir(parents=True)
        lines = [f'{{"step": {i}, "lr": {lr}, "loss": 1.0}}' for i in (1, 2)]
        (start / 'scalars.json').write_text('\n'.join(lines))
        (start / 'config.py').write_text(f'optim = dict(lr={lr}, clip=3.0)')
    folders = [tmp_path / 'one', tmp_path / 'two']
    page = Reader(write_report(folders, tmp_path / 'two.html').read_text())
    assert '2 runs' in page.text
    assert 'optim.lr' in page.text
    assert 'optim.clip' not in page.text
    assert page.charts == 4  # the loss and the learning rate of each
    assert not (tmp_path / 'one' / 'report.html').exists()
    table = runs_table(find_runs(tmp_path)).splitlines()
    assert len(table) == 3
    assert table[1].split()[1:4] == ['stopped', '2', '1']


def test_write_report__escapes_what_it_shows(finished, tmp_path):
    evil = tmp_path / '<script>alert(1)</script>'.replace('/', '')
    (evil / '20260101_000000' / 'vis_data').mkdir(parents=True)
    scalars = evil / '20260101_000000' / 'vis_data' / 'scalars.json'
    record = {'step': 1, 'lr': 0.1, '<b>': 2.0, 'loss': float('nan')}
    scalars.write_text(json.dumps(record) + '\n')
    page = write_report([evil]).read_text()
    assert '<script' not in page
    assert '<b>' not in page


def test_flat_settings__dotted_keys():
    config = dict(
        work_dir='x',
        model=dict(type='A', sizes=[1, 2], empty={}),
        hooks=[dict(type='B')],
    )
    assert flat_settings(config) == {
        'model.type': 'A',
        'model.sizes': '[1, 2]',
        'model.empty': '{}',
        'hooks.0.type': 'B',
    }


def test_report_hook__a_failure_is_no_failure_of_the_run(
    tmp_path, monkeypatch
):
    from mmcae.engine.hooks import report_hook

    def refuse(*_, **__):
        raise OSError('no space left')

    monkeypatch.setattr(report_hook, 'write_report', refuse)
    run(tmp_path, hooks=(ReportHook(),), **INFO)
    (log,) = tmp_path.glob('*/*.log')
    assert 'No report was written: no space left' in log.read_text()


def test_write_report__thousands_of_records_are_fast_and_small(tmp_path):
    folder = tmp_path / '20260101_000000' / 'vis_data'
    folder.mkdir(parents=True)
    lines = [
        json.dumps(dict(step=i, lr=0.1, loss=1 / (i + 1)))
        for i in range(20_000)
    ]
    (folder / 'scalars.json').write_text('\n'.join(lines))
    start = time.perf_counter()
    page = write_report([tmp_path])
    assert page.stat().st_size < 100_000
    assert time.perf_counter() - start < 20
