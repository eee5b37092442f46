# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The small-scale comparison, and its parts."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from runs import run_tool
from small_scale import write_few
from table import write_table

TOOLS = Path(__file__).parents[1]


def run(few, many, **more):
    kinds = ('linear', 'attentive', 'knn', 'finetune')
    return dict(
        few=dict.fromkeys(kinds, few), all=dict.fromkeys(kinds, many), **more
    )


def test_write_table__means_ranges_and_median_cost(tmp_path):
    arms = dict(
        random=[run(10.0, 40.0)],
        mmcae=[
            run(60.0, 80.0, pretrain_cpu=9.0),
            run(60.5, 83.0, pretrain_cpu=11.0),
        ],
    )
    results = dict(labels=['few', 'all'], arms=arms)
    lines = write_table(tmp_path, results).splitlines()
    assert lines[2].startswith('| 10 per class | random weights')
    assert lines[2].endswith('| 10.0 | 10.0 | 10.0 | 10.0 |')
    cells = ' | '.join(['60.2 [60.0-60.5]'] * 4)
    assert lines[3] == f'| 10 per class | mmcae | {cells} |'
    cells = ' | '.join(['81.5 [80.0-83.0]'] * 4)
    assert lines[5] == f'| all | mmcae | {cells} |'
    assert lines[-1] == 'mmcae: pretrained in 10 s of CPU time'
    assert (tmp_path / 'table.md').read_text().splitlines() == lines


def test_write_few__a_seed_gives_the_same_images(tmp_path):
    for name in 'ab':
        (tmp_path / 'train' / name).mkdir(parents=True)
        for i in range(30):
            (tmp_path / 'train' / name / f'{i}.png').write_text(f'{i}')
    drawn = []
    for seed in (0, 1, 0):
        write_few(tmp_path, seed)
        found = sorted((tmp_path / f'few_{seed}').rglob('*.png'))
        assert len(found) == 20
        drawn.append([str(p.relative_to(tmp_path))[5:] for p in found])
    assert drawn[0] == drawn[2]
    assert drawn[0] != drawn[1]


def test_run_tool__runs_once_and_reports_a_failure(tmp_path):
    script = tmp_path / 'tool.py'
    script.write_text(
        'import pathlib, sys\n'
        'p = pathlib.Path(sys.argv[1])\n'
        "p.write_text(p.read_text() + 'x')\n"
        "print('said')\n"
    )
    count = tmp_path / 'count'
    with pytest.raises(SystemExit, match=r'(?s)FileNotFoundError.*failed: '):
        run_tool(tmp_path / 'run', script, count)
    count.write_text('')
    for _ in range(2):
        assert run_tool(tmp_path / 'run', script, count) == 'said\n'
    assert count.read_text() == 'x'
    done = json.loads((tmp_path / 'run/done.json').read_text())
    assert done['cpu'] > 0


@pytest.mark.slow
def test_small_scale__runs_with_one_epoch_of_everything(tmp_path):
    command = [sys.executable, str(TOOLS / 'small_scale.py')]
    command += ['--data', 'digits', '--seeds', '0', '--epochs', '1']
    command += ['--labels', 'few']
    command += ['--work-dir', str(tmp_path)]
    printed = subprocess.run(
        command, check=True, capture_output=True, text=True
    ).stdout
    table = (tmp_path / 'digits/table.md').read_text()
    assert table in printed
    results = json.loads((tmp_path / 'digits/results.json').read_text())
    assert set(results['arms']) == {'random', 'mmpretrain', 'mmcae'}
    for runs in results['arms'].values():
        for kind in ('linear', 'attentive', 'knn', 'finetune'):
            assert 5 < runs[0]['few'][kind] < 100
