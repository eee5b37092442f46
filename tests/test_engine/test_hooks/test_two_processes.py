# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Two processes save at the same iteration and continue exactly."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import token_runs
from helpers.toy_project import environment

from mmcae.checkpoint.work_dir import checkpoints_in

TRAIN = Path(__file__).parents[3] / 'tools/train.py'


def write_config(photos: Path, folder: Path) -> Path:
    """Write a config that saves each epoch and logs each iteration."""
    cfg = token_runs.config(photos, folder / 'run', epochs=400)
    cfg.train_dataloader.batch_size = 2
    cfg.train_cfg = dict(type='mmcae.EpochBasedTrainLoop', max_epochs=400)
    cfg.custom_hooks = [dict(type='mmcae.SignalHook')]
    cfg.default_hooks = dict(
        logger=dict(type='LoggerHook', interval=1),
        checkpoint=dict(
            type='mmcae.CheckpointHook', interval=1, max_keep_ckpts=2
        ),
    )
    path = folder / 'two.py'
    cfg.dump(str(path))
    return path


def start(config: Path, work_dir: Path, *options: str) -> subprocess.Popen:
    command = [sys.executable, '-m', 'torch.distributed.run']
    command += ['--standalone', '--nproc_per_node=2', str(TRAIN), str(config)]
    command += ['--launcher', 'pytorch', '--work-dir', str(work_dir)]
    command += options
    return subprocess.Popen(
        command,
        cwd=config.parent,
        env=environment(config.parent),
        stdout=open(config.parent / 'log.txt', 'a'),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def losses(work_dir: Path) -> dict[int, float]:
    """Losses by iteration, as the log has them."""
    found = {}
    for file in sorted(work_dir.glob('*/vis_data/scalars.json')):
        for line in file.read_text().splitlines():
            entry = json.loads(line)
            found[entry['step']] = entry['loss']
    return found


@pytest.mark.slow
def test_two_processes__save_on_a_signal_and_continue(photos, tmp_path):
    config = write_config(photos, tmp_path)
    run = tmp_path / 'run'
    process = start(config, run)
    limit = time.monotonic() + 200
    while not checkpoints_in(run):
        assert process.poll() is None, (tmp_path / 'log.txt').read_text()
        assert time.monotonic() < limit
        time.sleep(0.1)
    ranks = subprocess.run(
        ['pgrep', '-P', str(process.pid)], capture_output=True, text=True
    )
    # Only the second process gets the signal.
    os.kill(int(ranks.stdout.split()[-1]), signal.SIGTERM)
    process.wait(120)
    log = (tmp_path / 'log.txt').read_text()
    assert 'SIGTERM: saved' in log, log[-3000:]
    saved = checkpoints_in(run)[0]
    first = losses(run)
    last = max(first)
    # The same iterations again, without an interruption.
    epochs = str(last // 2 + 4)
    more = ('--cfg-options', f'train_cfg.max_epochs={epochs}')
    assert start(config, run, '--resume', *more).wait(200) == 0
    whole = tmp_path / 'whole'
    assert start(config, whole, *more).wait(200) == 0
    resumed, expected = losses(run), losses(whole)
    assert saved.suffix == '.pth'
    assert max(resumed) > last
    assert resumed == expected
