# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Trainings through ``tools/train.py``, as a user starts them."""

import json
import os
import subprocess
import sys
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
CAE = REPO / 'configs/cae/cae_tiny-p8_1xb32-coslr-80e_digits-32px.py'
TOKENIZER = REPO / 'configs/tokenizer/dvae_f8-k64_1xb32-13e_digits-32px.py'
sys.path.insert(0, str(REPO / 'tools/dataset_converters'))


def write_images(folder: Path) -> Path:
    """Write scikit-learn's digits; returns the folder of training images."""
    from digits import write_digits

    write_digits(folder)
    return folder / 'train'


def start(
    config: Path, work_dir: Path, *arguments: str, device: str = 'cpu'
) -> subprocess.Popen:
    """Start a training; its output goes to ``console.log``.

    Args:
        config: The config.
        work_dir: Folder of the run.
        *arguments: Further arguments of the tool.
        device: ``'cpu'`` hides the GPU from the run.
    """
    work_dir.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(REPO / 'tools/train.py'), str(config)]
    command += ['--work-dir', str(work_dir), *arguments]
    environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
    if device == 'cpu':
        environment['CUDA_VISIBLE_DEVICES'] = ''
    with open(work_dir / 'console.log', 'w') as log:
        return subprocess.Popen(
            command, stdout=log, stderr=log, cwd=REPO, env=environment
        )


def finish(process: subprocess.Popen, work_dir: Path) -> None:
    """Wait for a training.

    Raises:
        RuntimeError: If it failed, with the end of its output.
    """
    if process.wait():
        text = (work_dir / 'console.log').read_text(errors='replace')
        tail = '\n'.join(text.splitlines()[-12:])
        raise RuntimeError(f'the training in {work_dir.name} failed:\n{tail}')


def checkpoint_of(work_dir: Path) -> Path:
    """The newest checkpoint of a run."""
    return work_dir / (work_dir / 'last_checkpoint').read_text().strip()


def losses_of(work_dir: Path) -> dict[int, float]:
    """The logged losses by iteration."""
    losses = {}
    for log in sorted(work_dir.glob('*/vis_data/scalars.json')):
        for line in log.read_text().splitlines():
            row = json.loads(line)
            if 'loss' in row:
                losses[row['step']] = row['loss']
    return losses
