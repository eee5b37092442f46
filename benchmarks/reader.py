# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Measure time and memory of reading a checkpoint, beside torch's loader.

    python benchmarks/reader.py
    python benchmarks/reader.py --old FOLDER      # an earlier checkout
    python benchmarks/reader.py --file epoch_300.pth

Without ``--file``, the checkpoint has the tensors of pretraining at base size.
The readers run in turn, each time in a new process. The time is that of the
call alone, with the file in the system's cache. The memory is how much the
peak of the process grows during the call.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
READ = """
import json, os, sys, time
reader, path = sys.argv[1:]
if reader == 'torch':
    import torch
    def read(path):
        return torch.load(path, 'cpu', weights_only=True)
else:
    import importlib, mmcae
    # Modules that have had the function, the oldest first. An import of the
    # newest from an old checkout would find the one of an installed mmcae.
    modules = ('utils.checkpoint_io', 'checkpoint.reading')
    root = mmcae.__path__[0]
    for module in modules:
        if os.path.exists(os.path.join(root, *module.split('.')) + '.py'):
            break
    read = importlib.import_module('mmcae.' + module).read_checkpoint

def peak(key):
    with open('/proc/self/status') as file:
        line = next(line for line in file if line.startswith(key))
    return int(line.split()[1]) * 1024

with open('/proc/self/clear_refs', 'w') as file:
    file.write('5')
before, start = peak('VmRSS'), time.perf_counter()
content = read(path)
seconds = time.perf_counter() - start
print(json.dumps([seconds, peak('VmHWM') - before]))
"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--file', type=Path, help='checkpoint to read')
    parser.add_argument(
        '--old', type=Path, help='checkout of an earlier mmcae to compare with'
    )
    parser.add_argument(
        '--rounds',
        type=int,
        default=7,
        help='number of measured rounds (default: %(default)s)',
    )
    parser.add_argument(
        '--width',
        type=int,
        default=768,
        help="the model's width; a smaller one is quicker to try "
        '(default: %(default)s)',
    )
    return parser.parse_args()


def write_checkpoint(path: Path, width: int) -> None:
    """Write the weights of a pretraining model."""
    import torch
    from mmengine.registry import MODELS

    import mmcae.models  # noqa: F401

    arch = dict(
        embed_dims=width,
        num_layers=12,
        num_heads=12,
        feedforward_channels=4 * width,
    )
    model = MODELS.build(
        dict(
            type='mmcae.CAE',
            backbone=dict(type='mmcae.CAEPretrainViT', arch=arch),
            neck=dict(type='mmcae.CAENeck', embed_dims=width),
            head=dict(
                type='mmcae.CAEHead',
                loss=dict(type='mmcae.CAELoss', lambd=2.0),
            ),
        )
    )
    torch.save(dict(state_dict=model.state_dict(), meta=dict(epoch=1)), path)


def read_once(reader: str, path: Path, root: Path) -> tuple[float, int]:
    """Read a file in a new process; returns seconds and bytes."""
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', READ, reader, str(path)],
        env={**os.environ, 'PYTHONPATH': str(root), 'OMP_NUM_THREADS': '1'},
        cwd=tempfile.gettempdir(),
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f'{reader}: {done.stderr}')
    seconds, memory = json.loads(done.stdout.splitlines()[-1])
    return seconds, memory


def measure(
    path: Path, old: Path | None, rounds: int
) -> dict[str, list[tuple[float, int]]]:
    """Run the readers in turn, each round in another order."""
    roots = {'mmcae': REPO, 'torch': REPO} | ({'old': old} if old else {})
    found: dict[str, list[tuple[float, int]]] = {name: [] for name in roots}
    path.read_bytes()  # fills the system's cache
    for number in range(rounds):
        names = list(roots)
        for name in (
            names[number % len(names) :] + names[: number % len(names)]
        ):
            found[name].append(read_once(name, path, roots[name]))
    return found


def table(found: dict[str, list[tuple[float, int]]]) -> str:
    """A Markdown table: median time and largest memory, with our ratios."""
    medians = {
        name: (
            statistics.median(seconds for seconds, _ in values),
            max(memory for _, memory in values),
        )
        for name, values in found.items()
    }
    lines = ['| reader | seconds | peak, MiB | time of mmcae | memory of it |']
    lines.append('|---|---|---|---|---|')
    ours = medians['mmcae']
    for name, (seconds, memory) in medians.items():
        lines.append(
            f'| {name} | {seconds:.2f} | {memory / 2**20:.0f} | '
            f'{ours[0] / seconds:.2f} x | {ours[1] / memory:.2f} x |'
        )
    return '\n'.join(lines)


def main() -> None:
    args = parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = args.file
        if path is None:
            path = Path(folder) / 'base.pth'
            write_checkpoint(path, args.width)
        print(f'{path.name}: {path.stat().st_size / 2**20:.0f} MiB')
        print(table(measure(path, args.old, args.rounds)))


if __name__ == '__main__':
    main()
