# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Runs of ``tools/*.py`` that a benchmark consists of."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]


def run_tool(folder: Path, *command: str | Path) -> str:
    """Run a tool unless it has run; return what it printed.

    Raises:
        SystemExit: If it fails, with the end of its output.
    """
    log, done = folder / 'console.log', folder / 'done.json'
    if not done.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        line = [sys.executable, *map(str, command)]
        # These models are too small to gain from more threads than one.
        environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
        start = time.perf_counter()
        with open(log, 'w') as file:
            process = subprocess.Popen(
                line, stdout=file, stderr=file, cwd=REPO, env=environment
            )
            _, status, usage = os.wait4(process.pid, 0)
        if os.waitstatus_to_exitcode(status):
            tail = '\n'.join(log.read_text().splitlines()[-15:])
            raise SystemExit(f'{tail}\n\nfailed: {" ".join(line)}')
        seconds = dict(
            cpu=usage.ru_utime + usage.ru_stime,
            wall=time.perf_counter() - start,
        )
        done.write_text(json.dumps(seconds))
    return log.read_text()


def last_checkpoint(folder: Path) -> Path:
    """The checkpoint of a finished training."""
    return Path((folder / 'last_checkpoint').read_text().strip())


def start_options(checkpoint: Path | None, layer_decay: bool) -> list[str]:
    """What a config becomes for an encoder.

    Args:
        checkpoint: The encoder; None: random weights.
        layer_decay: Whether the config has layer-wise decay.
    """
    if checkpoint is not None:
        return [f'checkpoint={checkpoint}']
    options = ['model.backbone.init_cfg=None']
    if layer_decay:
        # From scratch no layer needs protection from the others.
        rate = 'optim_wrapper.paramwise_cfg.layer_decay_rate'
        options.append(f'{rate}=1.0')
    return options
