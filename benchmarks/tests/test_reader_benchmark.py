# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The benchmark of the checkpoint reader runs on a small checkpoint."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]


@pytest.mark.slow
def test_reader__prints_time_and_memory_of_each_reader():
    options = ['--width', '96', '--rounds', '1', '--old', str(REPO)]
    script = REPO / 'benchmarks/reader.py'
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', script, *options],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r'base\.pth: \d+ MiB', done.stdout)
    rows = re.findall(r'\| (\w+) \| ([\d.]+) \| \d+ \|', done.stdout)
    assert [name for name, _ in rows] == ['mmcae', 'torch', 'old']
    assert all(float(seconds) < 60 for _, seconds in rows)
