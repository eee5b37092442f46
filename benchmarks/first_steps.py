# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Use an installed mmcae as a new user does, and record what happens.

    python -m venv env && env/bin/pip install 'mmcae[export,tiff]' scikit-image
    env/bin/python benchmarks/first_steps.py OUT --icons ICONS --photos PHOTOS

It runs the commands of README's first pages, pretrains on six folders of
images (see ``own_folders.py``), draws what the models predict, measures one
of them on classes, and exports it to each format. Each command runs in
``OUT``, away from the repository, and only once: a repeated call goes on
where the last one ended. The record is ``docs/first_steps.json``, and
``documented_blocks.py`` writes it into docs/results.md.

It imports no other script that needs PyTorch, because its own start is not
measured.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from own_folders import FOLDERS, add_sources, make

REPO = Path(__file__).resolve().parents[1]
RECORD = REPO / 'docs' / 'first_steps.json'
EMOJI = 'cae_tiny-p8_1xb32-coslr-30e_emoji-48px'
# Format and ending of the exported file or folder.
FORMATS = {
    'timm': '',
    'transformers': '',
    'onnx': '.onnx',
    'torchscript': '.pt',
    'torch-export': '.pt2',
    'safetensors': '.safetensors',
    'mmpretrain': '.pth',
    'official': '.pth',
}
# The folder with classes.
LABELED = 'icons_5000'
_DIFFERENCE = re.compile(r'largest difference (\S+)')


class Steps:
    """Commands that run once each, in one folder.

    Args:
        out: The folder; it also keeps the results.
        programs: Folder of ``mmcae`` and ``python``.
    """

    def __init__(self, out: Path, programs: Path) -> None:
        self.out = out
        self.programs = programs
        self.file = out / 'steps.json'
        self.done: dict[str, dict[str, Any]] = {}
        if self.file.is_file():
            self.done = json.loads(self.file.read_text())

    def run(self, name: str, program: str, *arguments: str) -> str:
        """Run a command, unless it has run.

        Args:
            name: Key of its result.
            program: ``mmcae`` or ``python``.
            arguments: Its arguments.

        Returns:
            What it printed.
        """
        log = self.out / 'logs' / f'{name}.txt'
        if name in self.done:
            return log.read_text()
        log.parent.mkdir(exist_ok=True)
        start = time.perf_counter()
        with open(log, 'w') as file:
            process = subprocess.Popen(
                [str(self.programs / program), *arguments],
                cwd=self.out,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
            _, status, usage = os.wait4(process.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        self.done[name] = dict(
            status=code,
            wall=round(time.perf_counter() - start, 1),
            cpu=round(usage.ru_utime + usage.ru_stime, 1),
            memory=usage.ru_maxrss * 1024,
        )
        self.file.write_text(json.dumps(self.done, indent=2))
        text = log.read_text()
        print(f'{name}: {self.done[name]}', flush=True)
        if code:
            print('\n'.join(text.splitlines()[-5:]), flush=True)
        return text


def readme_blocks() -> list[str]:
    """The Python examples of README."""
    text = (REPO / 'README.md').read_text()
    return re.findall(r'```python\n(.*?)```', text, re.DOTALL)


def first_pages(steps: Steps) -> None:
    """What README shows first, without the installation."""
    steps.run('help', 'mmcae', '--help')
    picture = str(REPO / 'demo' / 'demo.jpg')
    steps.run('reconstruct', 'mmcae', 'reconstruct', EMOJI, picture)
    for number, block in enumerate(readme_blocks()):
        steps.run(f'readme_python_{number}', 'python', '-c', block)


def pretraining(
    steps: Steps, name: str, folder: Path, duration: str
) -> dict[str, Any]:
    """Pretrain on a folder, and draw what the model predicts."""
    run = f'runs/{name}'
    command = ('pretrain', str(folder), '--out', run, '--time', duration)
    plan = steps.run(f'{name}_pretrain', 'mmcae', *command)
    checkpoint = steps.out / run / 'cae' / 'last_checkpoint'
    found: dict[str, Any] = dict(
        plan=_row(plan, 'model'), images=_row(plan, 'images')
    )
    if checkpoint.is_file():
        last = checkpoint.parent / checkpoint.read_text().strip()
        picture = f'pictures/{name}.png'
        drawn = ('reconstruct', str(last), str(folder), '--out', picture)
        steps.run(f'{name}_reconstruct', 'mmcae', *drawn, '--max-images', '6')
        found['checkpoint'] = str(last)
    return found


def _row(plan: str, label: str) -> str:
    """A row of a printed plan, in one line."""
    found = re.search(rf'^{label} +(.*(?:\n {{11}}.*)*)', plan, re.MULTILINE)
    return ' '.join(found[1].split()) if found else ''


def measured(steps: Steps, checkpoint: str, folder: Path) -> str:
    """Measure a model on classes; the printed table."""
    return steps.run('probe', 'mmcae', 'probe', checkpoint, str(folder))


def exports(steps: Steps, checkpoint: str) -> dict[str, str]:
    """Export a model to each format; the largest printed differences."""
    found = {}
    for form, ending in FORMATS.items():
        out = f'exported/{form}{ending}'
        text = steps.run(
            f'export_{form}',
            'mmcae',
            'export',
            checkpoint,
            '--to',
            form,
            '--out',
            out,
            '--num-heads',
            '3',
        )
        differences = _DIFFERENCE.findall(text)
        found[form] = max(differences, key=float) if differences else ''
    return found


def machine() -> dict[str, Any]:
    """The machine and the versions."""
    info = Path('/proc/cpuinfo')
    name = platform.processor() or platform.machine()
    if info.is_file():
        found = re.search(r'model name\s*: (.*)', info.read_text())
        name = found[1] if found else name
    packages = ('mmcae', 'torch', 'timm', 'transformers', 'onnxruntime')
    return dict(
        processor=name,
        cores=len(os.sched_getaffinity(0)),
        python=platform.python_version(),
        packages={package: version(package) for package in packages},
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('out', type=Path)
    add_sources(parser)
    parser.add_argument(
        '--time', default='3m', help='of each pretraining (default: 3m)'
    )
    parser.add_argument('--record', type=Path, default=RECORD)
    args = parser.parse_args()
    out = args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    steps = Steps(out, Path(sys.executable).parent)
    first_pages(steps)
    folders = {}
    for name in FOLDERS:
        folder = make(name, out / 'data', args.icons, args.photos)
        folders[name] = pretraining(steps, name, folder, args.time)
    record = dict(machine=machine(), time=args.time, folders=folders)
    checkpoint = folders[LABELED].get('checkpoint')
    if checkpoint:
        labeled = out / 'data' / LABELED
        record['probe'] = measured(steps, checkpoint, labeled)
        record['exports'] = exports(steps, checkpoint)
    for found in folders.values():
        found.pop('checkpoint', None)
    record['steps'] = steps.done
    args.record.write_text(json.dumps(record, indent=2) + '\n')
    failed = [name for name, step in steps.done.items() if step['status']]
    if failed:
        raise SystemExit(f'failed: {", ".join(failed)}')


if __name__ == '__main__':
    main()
