# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Repeat an iteration whose loss or gradient was not finite.

python tools/analysis_tools/replay.py WORK_DIR/non_finite/iter_N
"""

import argparse
import logging
import sys
from pathlib import Path

from mmengine.logging import MMLogger

import mmcae  # noqa: F401
from mmcae.checkpoint.printable import printable
from mmcae.engine.replay import Replay, replay, same_bits
from mmcae.launch.runner import run


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Repeat an iteration whose loss or gradient was not '
        'finite, from the batch, weights and random state that '
        'mmcae.NonFiniteHook kept. The exit status is 1 if the losses are '
        'not equal bit by bit. The config in the folder is executed, as '
        'every config is; the other files are read as data.'
    )
    parser.add_argument('folder', type=Path, help='WORK_DIR/non_finite/iter_N')
    parser.add_argument(
        '--rank', type=int, default=0, help='process whose batch is repeated'
    )
    parser.add_argument(
        '--device',
        help='default: that of the run; another one has other rounding and '
        'other random numbers',
    )
    parser.add_argument(
        '--anomaly',
        action='store_true',
        help='stop with the operation whose gradient is NaN',
    )
    return parser.parse_args()


def report(result: Replay) -> str:
    """Say what was found, one line a fact."""
    files = '\n  '.join(printable(name, 1000) for name in result.files)
    lines = [f'Iteration {result.iteration}, {len(result.files)} files:']
    lines += [f'  {files}', '', f'{"":16}{"recorded":>16}{"replayed":>16}']
    for key, recorded in result.recorded.items():
        replayed = result.replayed.get(key, float('nan'))
        verdict = '' if same_bits(recorded, replayed) else '  differs'
        lines.append(
            f'{key:16}{float(recorded):16.8g}{float(replayed):16.8g}{verdict}'
        )
    recorded_norm, norm = result.norms
    if norm is not None:
        known = '' if recorded_norm is None else f'{recorded_norm:.8g}'
        lines.append(f'{"gradient norm":16}{known:>16}{norm:16.8g}')
    lines.append('')
    equal = 'equal' if result.is_equal else 'NOT equal'
    lines.append(f'The losses are {equal} bit by bit.')
    if result.module is not None:
        fed = 'finite' if result.fed else 'not finite either'
        lines.append(
            f'First output that is not finite: {result.module}; its inputs '
            f'are {fed}.'
        )
    else:
        lines.append('All outputs of modules are finite.')
    if result.parameters:
        first, last = result.parameters[0], result.parameters[-1]
        lines.append(
            f'Gradients that are not finite: {len(result.parameters)} '
            f'parameters, from {first} to {last}.'
        )
    else:
        lines.append('All gradients are finite.')
    return '\n'.join(lines)


def main() -> None:
    args = parse_args()
    # Building the model logs its weights and parameter groups.
    MMLogger.get_current_instance().setLevel(logging.ERROR)
    result = replay(args.folder, args.rank, args.device, args.anomaly)
    print(report(result))
    sys.exit(0 if result.is_equal else 1)


if __name__ == '__main__':
    run(main)
