# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The pages show the numbers of the record."""

import copy
import json
import sys
from pathlib import Path

import pytest
from speed_tools import TOOLS  # noqa: F401  (makes the tools importable)

import documented_blocks  # isort: skip
import documented_runs  # isort: skip
from documented_runs import RECORD, REPO, Runs  # isort: skip

LOG = """
11/28 00:28:14 - mmengine - INFO - Epoch(train)  [1][43/43]  lr: 6.5e-04  \
eta: 0:04:17  time: 0.0757  grad_norm: 7.9605  loss: 5.6455
11/28 00:28:15 - mmengine - INFO - Saving checkpoint at 80 epochs
11/28 00:31:14 - mmengine - INFO - Epoch(train) [80][43/43]  lr: 4.5e-10  \
eta: 0:00:00  time: 0.1416  grad_norm: 3.1299  loss: 2.1374
"""


@pytest.fixture
def records():
    return json.loads(RECORD.read_text())


@pytest.mark.parametrize('page', documented_blocks.PAGES)
def test_pages__have_the_recorded_numbers(page, records):
    text = (REPO / page).read_text()
    assert documented_blocks.BLOCK.search(text), f'{page} has no block'
    assert documented_blocks.fill(text, records) == text, (
        'run python benchmarks/documented_blocks.py'
    )


def test_pages__use_every_block():
    used = set()
    for page in documented_blocks.PAGES:
        text = (REPO / page).read_text()
        used.update(m[2] for m in documented_blocks.BLOCK.finditer(text))
        found = len(documented_blocks.BLOCK.findall(text))
        assert text.count('<!-- documented') == found
    assert used == set(documented_blocks.BLOCKS)


def test_record__has_machine_and_versions_but_no_folder(records):
    for record in records:
        machine = record['machine']
        assert machine['packages']['torch']
        assert machine['processor']
        assert machine['python']
        for run in record['runs'].values():
            for command in run['commands']:
                # WORK stands for the folder on the machine.
                assert not any(w.startswith('/') for w in command.split())
                assert '=/' not in command
    assert set(records[0]['runs']) == set(documented_runs.RUNS)


def test_main__check_fails_on_another_number(tmp_path, monkeypatch, records):
    other = copy.deepcopy(records)
    other[0]['runs']['digits']['results']['last']['loss'] = '9.9999'
    record = tmp_path / 'other.json'
    record.write_text(json.dumps(other))

    def run(file):
        argv = ['documented_blocks.py', '--check', '--record', str(file)]
        monkeypatch.setattr(sys, 'argv', argv)
        documented_blocks.main()

    run(RECORD)
    with pytest.raises(SystemExit, match=r'get_started\.md has other numbers'):
        run(record)


def test_fill__names_a_block_that_does_not_exist(records):
    page = '<!-- documented: losses -->\n<!-- end -->'
    with pytest.raises(SystemExit, match="'losses'; there are machine"):
        documented_blocks.fill(page, records)


def test_log_line__has_no_times(records):
    text = documented_blocks.log_line(records)
    assert 'time' not in text
    assert 'grad_norm' in text
    assert max(map(len, text.splitlines())) <= 76


def test_variation__empty_cell_for_what_was_not_run(records):
    del records[-1]['runs']['digits']
    rows = documented_blocks.variation(records).splitlines()
    (norms,) = (row for row in rows if row.startswith('| first gradient'))
    assert norms.endswith('|  |')


def test_training_lines__returns_numbers_as_printed():
    first, last = documented_runs.training_lines(LOG)
    assert first['at'] == 'Epoch(train) [1][43/43]'
    assert last['at'] == 'Epoch(train) [80][43/43]'
    assert (first['grad_norm'], last['loss']) == ('7.9605', '2.1374')
    assert last['lr'] == '4.5e-10'
    assert not set(documented_runs.TIMES) & set(last)
    with pytest.raises(ValueError, match='no line of a training'):
        documented_runs.training_lines('Saving checkpoint')


def test_runs__record_their_commands(tmp_path, monkeypatch):
    def run_tool(folder, *command):
        if 'config.py' in str(command):
            return LOG
        folder.mkdir(parents=True)
        return ''

    monkeypatch.setattr(documented_runs, 'run_tool', run_tool)
    runs = Runs(tmp_path)
    option = runs.digits_data()
    assert option == f'data_root={tmp_path}/digits/data/train'
    assert runs.train('cae', 'config.py', option) == LOG
    assert runs.commands == [
        'python tools/dataset_converters/digits.py WORK/digits/data',
        'python tools/train.py config.py --work-dir WORK/cae --overwrite '
        '--cfg-options data_root=WORK/digits/data/train',
    ]


def test_find_record__one_for_each_machine():
    records = []
    for limit in (None, 'avx2', None):
        machine = documented_runs.describe_machine(limit)
        record = documented_runs.find_record(records, machine)
        assert record['machine']['limited_to'] == limit
    assert len(records) == 2
    assert Path(documented_runs.__file__).is_relative_to(REPO)


def test_main__starts_again_to_limit_the_processor(monkeypatch):
    class Started(Exception):
        pass

    def execv(program, command):
        raise Started(program, command, dict(documented_runs.os.environ))

    limits = documented_runs.PROCESSORS['avx2']
    for variable in limits:
        monkeypatch.setenv(variable, 'none')
    monkeypatch.setattr(documented_runs.os, 'execv', execv)
    argv = ['documented_runs.py', '--as-processor', 'avx2']
    monkeypatch.setattr(sys, 'argv', argv)
    with pytest.raises(Started) as error:
        documented_runs.main()
    program, command, environment = error.value.args
    assert (program, command) == (sys.executable, [sys.executable, *argv])
    assert limits.items() <= environment.items()
