# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""What a training says at its start, on its way and at its end."""

import itertools
import re
import sys
from types import SimpleNamespace

import pytest
from helpers.exact_runs import run

from mmcae.apis.run_folder import newest_checkpoint
from mmcae.engine.hooks import progress_hook
from mmcae.engine.hooks.progress_hook import (
    ProgressHook,
    clock,
    count,
    images_of,
    next_commands,
)
from mmcae.utils.durations import duration_text


def log_of(folder) -> str:
    (file,) = folder.glob('*/*.log')
    return file.read_text()


def fake_time(monkeypatch, step: float) -> None:
    """Each look at the clock is ``step`` seconds later."""
    times = itertools.count(0.0, step)
    fake = SimpleNamespace(perf_counter=lambda: next(times))
    monkeypatch.setattr(progress_hook, 'time', fake)


def test_progress__header_first_step_and_end(tmp_path):
    run(tmp_path, True, hooks=(ProgressHook(),), log_level='INFO')
    log = log_of(tmp_path)
    assert 'training of DropoutModel' in log
    assert re.search(r'data +20 images \(Rows\), batch 4\n', log)
    assert re.search(r'model +41 trained parameters\n', log)
    assert re.search(r'optimizer +\w+, learning rate [\d.]+', log)
    assert re.search(r'schedule +\d+ epochs, \d+ iterations\n', log)
    assert re.search(rf'work dir +{tmp_path}\n', log)
    assert log.count('The first step is done after') == 1
    done = log.split('Done: ')[1]
    assert re.match(r'\d+ iterations in \d+ s\.', done)
    assert str(newest_checkpoint(tmp_path)) in done


def test_progress__a_silent_logger_is_replaced(tmp_path, monkeypatch):
    fake_time(monkeypatch, 40.0)
    run(tmp_path, True, hooks=(ProgressHook(seconds=60.0),), log_level='INFO')
    lines = re.findall(r'Iteration (\d+) of (\d+)(.*)', log_of(tmp_path))
    assert lines
    done, total, text = lines[-1]
    left = (int(total) - int(done)) * 40
    assert f'{duration_text(left, exact=True)} left' in text
    assert 'left' not in lines[0][2] or int(lines[0][0]) > 3


def test_progress__says_that_a_run_is_continued(tmp_path):
    run(tmp_path, True, stop=6)
    run(tmp_path, True, resume=True, hooks=(ProgressHook(),), log_level='INFO')
    logs = [file.read_text() for file in tmp_path.glob('*/*.log')]
    assert any('iterations, continued after ' in log for log in logs)


def test_bar__the_log_appears_above_and_streams_come_back(tmp_path):
    hook = ProgressHook(bar=True)
    stdout = sys.stdout
    run(tmp_path, True, hooks=(hook,), log_level='INFO')
    assert hook._bar is None
    assert sys.stdout is stdout
    assert 'The first step' not in log_of(tmp_path)


def test_clock__names_the_day_if_it_is_another():
    assert re.fullmatch(r'\d\d:\d\d', clock(0))
    assert clock(400 * 86400) != clock(0)
    assert re.fullmatch(r'\w+ \d\d, \d\d:\d\d', clock(10 * 86400))


@pytest.mark.parametrize(
    ('number', 'text'),
    [(41, '41'), (180_500, '180.5 k'), (85.8e6, '85.8 M'), (1.2e9, '1.2 G')],
)
def test_count(number, text):
    assert count(number) == text


def test_images_of__every_form_of_a_batch():
    assert images_of(dict(inputs=[1, 2], data_samples=[1, 2, 3])) == 3
    assert images_of(dict(inputs=[1, 2])) == 2
    assert images_of(None) == 0


def test_next_commands__by_what_the_model_is(tmp_path):
    cae = SimpleNamespace(target_generator=None, neck=None)
    tokenizer = SimpleNamespace(tokenize=None)
    path = tmp_path / 'epoch_1.pth'
    assert f'mmcae reconstruct {path}' in next_commands(cae, path)[0]
    assert f'tokenizer={path}' in next_commands(tokenizer, path)[0]
    assert 'mmcae test' in next_commands(SimpleNamespace(), path)[0]
