# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The Slurm scripts with stand-ins for srun, sbatch and scontrol."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers import token_runs
from helpers.launched_runs import write_photos

from mmcae.checkpoint.reading import read_checkpoint
from mmcae.config.search_path import resource_root

TOOLS = resource_root() / 'tools'

#: Writes its name and arguments; then it acts as the real command would.
STAND_IN = """#!{python}
import json, os, signal, subprocess, sys, time
from pathlib import Path

name, given = Path(sys.argv[0]).name, sys.argv[1:]
here = Path(__file__).parent
with open(here / 'calls', 'a') as file:
    file.write(json.dumps([name, *given]) + '\\n')
# the command behind the options
at = next((i for i, a in enumerate(given) if '/' in a and a[0] != '-'), 0)
command = given[at:]
if name == 'sbatch':
    # Run the job, and again each time when it has asked for that.
    asked = here / 'requeue'
    copy = here / 'slurm_script'
    copy.write_text(Path(command[0]).read_text())
    for count in range(100):
        asked.unlink(missing_ok=True)
        variables = dict(os.environ, SLURM_JOB_ID='77')
        variables.update(SLURM_CPUS_PER_TASK='5')
        if count:
            variables['SLURM_RESTART_COUNT'] = str(count)
        status = subprocess.run(
            ['bash', copy, *command[1:]], env=variables).returncode
        if not asked.exists():
            sys.exit(status)
if name == 'scontrol' and given[0] == 'requeue':
    (here / 'requeue').touch()
if name == 'srun':
    statuses = here / 'statuses'
    if statuses.exists():
        first, *rest = statuses.read_text().split()
        statuses.write_text(' '.join(rest or [first]))
        sys.exit(int(first))
    variables = dict(os.environ, SLURM_PROCID='0', SLURM_NTASKS='1')
    variables.update(SLURM_LOCALID='0', MASTER_ADDR='127.0.0.1')
    with subprocess.Popen(command, env=variables) as process:
        signal_at = here / 'signal_at'
        while signal_at.exists() and process.poll() is None:
            if Path(signal_at.read_text()).exists():
                signal_at.unlink()
                process.send_signal(signal.SIGUSR1)
            time.sleep(0.01)
    status = process.returncode
    sys.exit(status if status >= 0 else 128 - status)
"""


@pytest.fixture
def slurm(tmp_path):
    folder = tmp_path / 'bin'
    folder.mkdir()
    for name in ('srun', 'sbatch', 'scontrol'):
        path = folder / name
        path.write_text(STAND_IN.format(python=sys.executable))
        path.chmod(0o755)
    return folder


def execute(slurm: Path, script: str, *arguments, **variables: str):
    environment = dict(
        os.environ,
        PATH=f'{slurm}{os.pathsep}{os.environ["PATH"]}',
        PYTHON=sys.executable,
        OMP_NUM_THREADS='1',
    )
    for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_PORT'):
        environment.pop(name, None)
    return subprocess.run(
        [str(TOOLS / script), *map(str, arguments)],
        cwd=slurm.parent,
        env={**environment, **variables},
        capture_output=True,
        text=True,
        timeout=200,
    )


def calls(slurm: Path) -> list[list[str]]:
    lines = (slurm / 'calls').read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_slurm_train__asks_for_a_signal_before_the_limit(slurm):
    (slurm / 'statuses').write_text('0')
    result = execute(
        slurm,
        *('slurm_train.sh', 'gpu', 'pretrain', 'c.py', 'out', '--resume'),
        SRUN_ARGS='--time=1:00 --mem=4G',
        GPUS='16',
    )
    assert result.returncode == 0, result.stderr
    assert calls(slurm) == [
        [
            *('srun', '-p', 'gpu', '--job-name=pretrain', '--gres=gpu:8'),
            *('--ntasks=16', '--ntasks-per-node=8', '--cpus-per-task=5'),
            *('--signal=USR1@120', '--kill-on-bad-exit=1', '--time=1:00'),
            *('--mem=4G', sys.executable, '-u', f'{TOOLS}/train.py', 'c.py'),
            *('--work-dir', 'out', '--resume', '--launcher', 'slurm'),
        ]
    ]


def test_slurm_test__keeps_its_command(slurm):
    (slurm / 'statuses').write_text('0')
    execute(
        slurm,
        *('slurm_test.sh', 'cpu', 'test', 'c.py', 'c.pth', '--out', 'o'),
        GPUS='1',
        GPUS_PER_NODE='0',
    )
    assert calls(slurm) == [
        [
            *('srun', '-p', 'cpu', '--job-name=test', '--ntasks=1'),
            *('--ntasks-per-node=1', '--cpus-per-task=5'),
            *('--kill-on-bad-exit=1', sys.executable, '-u'),
            *(f'{TOOLS}/test.py', 'c.py', 'c.pth', '--out', 'o'),
            *('--launcher', 'slurm'),
        ]
    ]


def batch(slurm: Path, statuses: str, **variables: str):
    (slurm / 'statuses').write_text(statuses)
    return execute(
        slurm,
        *('slurm_batch.sh', 'gpu', 'my job', 'c.py', 'my runs', '--amp'),
        **variables,
    )


def test_slurm_batch__submits_a_job_that_resumes(slurm):
    result = batch(slurm, '0', SBATCH_ARGS='--time=24:00:00')
    assert result.returncode == 0, result.stderr
    assert (slurm.parent / 'my runs').is_dir()  # for the output of Slurm
    assert calls(slurm) == [
        [
            *('sbatch', '-p', 'gpu', '--job-name=my job', '--gres=gpu:8'),
            *('--ntasks=8', '--ntasks-per-node=8', '--cpus-per-task=5'),
            *('--signal=USR1@120', '--requeue', '--open-mode=append'),
            *('--output=my runs/slurm-%j.out', '--time=24:00:00'),
            *(f'{TOOLS}/slurm_job.sh', str(TOOLS), 'c.py'),
            *('--work-dir', 'my runs', '--amp'),
        ],
        [
            *('srun', '--cpus-per-task=5', '--kill-on-bad-exit=1'),
            *(sys.executable, '-u', f'{TOOLS}/train.py', 'c.py'),
            *('--work-dir', 'my runs', '--amp', '--resume'),
            *('--launcher', 'slurm'),
        ],
    ]


def requeues(slurm: Path) -> int:
    return calls(slurm).count(['scontrol', 'requeue', '77'])


def test_slurm_job__is_requeued_after_the_signal(slurm):
    result = batch(slurm, '138 138 0')
    assert result.returncode == 0, result.stderr
    assert requeues(slurm) == 2
    assert 'requeue 2 of at most 20' in result.stdout


@pytest.mark.parametrize('status', ['1', '75', '137', '143'])
def test_slurm_job__ends_with_any_other_status(slurm, status):
    assert batch(slurm, status).returncode == int(status)
    assert requeues(slurm) == 0


def test_slurm_job__is_requeued_a_limited_number_of_times(slurm):
    result = batch(slurm, '138', MAX_REQUEUES='3')
    assert result.returncode == 138
    assert requeues(slurm) == 3
    assert 'requeued 3 times (MAX_REQUEUES=3)' in result.stderr


def test_slurm_job__fails_if_slurm_does_not_requeue(slurm):
    (slurm / 'scontrol').write_text('#!/bin/sh\nexit 1\n')
    assert batch(slurm, '138').returncode == 138


@pytest.mark.parametrize(
    ('script', 'count'),
    [('slurm_train.sh', 3), ('slurm_test.sh', 3), ('slurm_batch.sh', 3)],
)
def test_slurm_scripts__print_their_usage(slurm, script, count):
    result = execute(slurm, script, *['x'] * count)
    assert result.returncode == 2
    assert result.stderr.startswith(f'Usage: tools/{script} PARTITION')
    assert result.stderr.rstrip().endswith('PYTHON (python).')
    assert 'set -euo' not in result.stderr


@pytest.mark.slow
def test_slurm_batch__a_requeued_run_ends_with_the_same_weights(
    slurm, tmp_path
):
    photos = write_photos(tmp_path)
    cfg = token_runs.config(photos, tmp_path / 'whole')
    cfg.train_cfg = dict(type='mmcae.EpochBasedTrainLoop', max_epochs=3)
    cfg.custom_hooks.append(dict(type='mmcae.SignalHook'))
    cfg.custom_hooks.append(dict(type='mmcae.StallHook'))
    cfg.default_hooks = dict(
        checkpoint=dict(type='mmcae.CheckpointHook', interval=1)
    )
    cfg.dump(str(tmp_path / 'cae.py'))
    for name in ('whole', 'cut'):
        if name == 'cut':
            first = tmp_path / 'cut/epoch_1.pth'
            (slurm / 'signal_at').write_text(str(first))
        arguments = ('slurm_batch.sh', 'cpu', 'job', 'cae.py', name)
        result = execute(slurm, *arguments, GPUS='1', GPUS_PER_NODE='0')
        assert result.returncode == 0, result.stdout + result.stderr
    assert requeues(slurm) == 1
    whole, cut = (
        read_checkpoint(tmp_path / name / 'epoch_3.pth')['state_dict']
        for name in ('whole', 'cut')
    )
    assert all(torch.equal(whole[key], cut[key]) for key in whole)
