# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The benchmark of the data pipeline runs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from dataloader import STAGES, count_cores, format_table, parse_args

TOOL = Path(__file__).parents[1] / 'dataloader.py'


def row(*milliseconds):
    seconds = [value / 1000 for value in milliseconds]
    return dict(zip((*STAGES, 'total'), (*seconds, sum(seconds)), strict=True))


def test_count_cores__rounds_up():
    assert count_cores(0.002, 1000) == 2
    assert count_cores(0.0021, 1000) == 3
    assert count_cores(0.0001, 1000) == 1


def test_format_table__compares_with_mmpretrain():
    times = dict(mmpretrain=row(2, 1, 1, 0, 0, 0), fast=row(1, 0, 0, 0, 0, 1))
    lines = format_table(times, 700).splitlines()
    assert len({line.count('|') for line in lines}) == 1
    assert lines[0].endswith('| cores for 700/s |')
    assert lines[2].endswith('| 0.00 | 4.00 | 250 | 1.00 | 3 |')
    assert lines[3].startswith('| mmcae, fast | 1.00 |')
    assert lines[3].endswith('| 1.00 | 2.00 | 500 | 2.00 | 2 |')


def test_parse_args__refuses_zero_images(capsys):
    with pytest.raises(SystemExit):
        parse_args(['--images', '0'])
    assert '--images must be positive' in capsys.readouterr().err


def test_tool__runs_on_generated_photographs(tmp_path):
    out = tmp_path / 'new' / 'out.json'
    options = ['--images', '4', '--rounds', '1', '--batch-size', '3']
    run = subprocess.run(
        [sys.executable, TOOL, *options, '--out', out],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    result = json.loads(out.read_text())
    assert result['images'] == 4
    assert list(result['times']) == [
        'mmpretrain',
        'pil',
        'fast',
        'PIL, as the authors',
    ]
    for times in result['times'].values():
        assert all(times[stage] > 0 for stage in ('load', 'crop', 'total'))
    for mean, largest in result['difference_from_pil']['mmcae fast'].values():
        assert mean < 0.2
        assert largest < 20
    assert '| mmcae, fast |' in run.stdout
