# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Lines of the log with speed, waiting time, memory and date."""

import re

import pytest
from helpers.exact_runs import run

from mmcae.engine.hooks import ProgressHook
from mmcae.engine.log_lines import clock, complete, peak_memory

LINE = (
    'Epoch(train)  [2][20/43]  lr: 1.0e-03  eta: 1 day, 2:03:04  '
    'time: 0.0400  data_time: 0.0100  loss: 0.5'
)


def test_complete__says_what_mmengine_leaves_out():
    line = complete(LINE, 63, 3440, 32)
    end = clock(26 * 3600 + 184)
    added = '63 of 3,440, 800 images/s, 25% waiting for data, '
    assert f'eta: 1 day, 2:03:04 (until {end})  time: 0.0400  ' in line
    assert re.search(rf'data_time: 0\.0100  \({added}[\d,]+ MB\)  loss', line)
    # What mmengine writes is still there, in the same order.
    fields = re.compile(r'\w+: [\d.e+-]+')
    assert fields.findall(line) == fields.findall(LINE)


def test_complete__with_a_gpu_and_without_times():
    gpu = LINE.replace('loss', 'memory: 2000  loss')
    assert ' MB)' not in complete(gpu, 1, 2, 0)
    assert 'images/s' not in complete(gpu, 1, 2, 0)
    assert complete('Epoch(train) loss: 1', 1, 2, 0) == 'Epoch(train) loss: 1'
    still = LINE.replace('0.0400', '0.0000')
    assert '(1 of 2, ' in complete(still, 1, 2, 3)


def test_peak_memory__is_that_of_a_process_with_torch():
    assert 50 < peak_memory() < 100_000


@pytest.mark.parametrize('by_epoch', [True, False])
def test_log__of_a_run(tmp_path, by_epoch):
    hooks = (ProgressHook(),)
    _, _, runner = run(tmp_path, by_epoch, hooks=hooks, log_level='INFO')
    (file,) = tmp_path.glob('*/*.log')
    lines = [x for x in file.read_text().splitlines() if 'data_time' in x]
    assert lines
    for line in lines:
        assert re.search(r'\(\d+ of 15, .*\d+% waiting for data', line)
    assert type(runner.log_processor).__name__ == 'LogProcessor'
