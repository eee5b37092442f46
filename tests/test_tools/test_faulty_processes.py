# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Two processes under torchrun, one of which is killed, stopped, restarted."""

import os
import time

import pytest
import torch
from helpers.launched_runs import (
    final_weights,
    log_of,
    messages,
    start,
    write_config,
    write_photos,
)

pytestmark = pytest.mark.slow


def run_to_end(config):
    """Return the launcher's status and the seconds since the fault."""
    with start(config) as process:
        limit = time.monotonic() + 100
        while not (config.parent / 'mark').exists():
            assert process.poll() is None, log_of(config)[-3000:]
            assert time.monotonic() < limit
            time.sleep(0.02)
        began = time.monotonic()
        return process.wait(100), time.monotonic() - began


def test_killed_rank__is_named_and_the_run_ends(tmp_path):
    photos = write_photos(tmp_path)
    config = write_config(photos, tmp_path / 'run', 'SIGKILL')
    status, took = run_to_end(config)
    assert status == 1
    assert took < 10
    (said,) = messages(config)
    assert said.startswith('Rank 1 (process')
    assert 'is gone' in said


def test_stopped_rank__is_named_and_the_launcher_ends(tmp_path):
    photos = write_photos(tmp_path)
    config = write_config(photos, tmp_path / 'run', 'SIGSTOP', limit=4.0)
    status, took = run_to_end(config)
    assert status == 1
    # torchrun alone waits 30 s for a stopped process.
    assert took < 4 + 10
    (said,) = messages(config)
    assert said.startswith('Rank 1 (process')
    assert 'waits for it, computing iteration 8' in said
    with pytest.raises(ProcessLookupError):
        os.kill(int((config.parent / 'mark').read_text()), 0)


def test_restart__ends_with_the_weights_of_an_undisturbed_run(tmp_path):
    photos = write_photos(tmp_path)
    whole = write_config(photos, tmp_path / 'whole')
    config = write_config(photos, tmp_path / 'cut', 'SIGKILL')
    assert start(whole).wait(150) == 0, log_of(whole)[-3000:]
    status = start(config, MAX_RESTARTS='2').wait(150)
    assert status == 0, log_of(config)[-3000:]
    assert (config.parent / 'mark').exists()
    expected, weights = final_weights(whole), final_weights(config)
    assert all(torch.equal(expected[key], weights[key]) for key in expected)
