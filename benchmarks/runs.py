# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Run ``tools/*.py`` for a benchmark, each run once."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]


def run_tool(folder: Path, *command: str | Path) -> str:
    """Run a tool, unless it has run in this folder.

    Args:
        folder: Folder for its output, ``console.log``, and for the seconds
            that it took, ``done.json``.
        command: The tool and its arguments.

    Returns:
        What the tool printed.

    Raises:
        SystemExit: If the tool fails, with the last lines of its output.
    """
    log, done = folder / 'console.log', folder / 'done.json'
    if not done.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        line = [sys.executable, *map(str, command)]
        # The models are too small to gain from a second thread.
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
    """The last checkpoint of a finished training."""
    text = (folder / 'last_checkpoint').read_text().strip()
    return folder / Path(text).name


def start_options(checkpoint: Path | None, layer_decay: bool) -> list[str]:
    """Options that make a config start from an encoder.

    Args:
        checkpoint: The encoder's checkpoint; ``None``: random weights.
        layer_decay: Whether the config has layer-wise decay.
    """
    if checkpoint is not None:
        return [f'checkpoint={checkpoint}']
    options = ['model.backbone.init_cfg=None']
    if layer_decay:
        # Low rates protect what early layers have learned. Random weights
        # have nothing to protect.
        rate = 'optim_wrapper.paramwise_cfg.layer_decay_rate'
        options.append(f'{rate}=1.0')
    return options
