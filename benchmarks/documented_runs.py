# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Run the commands whose results README and the docs show, and record them.

    python benchmarks/documented_runs.py               # all, 15 minutes
    python benchmarks/documented_runs.py --runs digits two_processes
    python benchmarks/documented_runs.py --as-processor avx2
    python benchmarks/documented_blocks.py             # write the pages

On one machine with one torch, training repeats bit by bit. Another processor,
whose kernels add in another order, or another torch rounds differently, and
training makes such a difference grow. So each record names the machine and
the versions. The pages show the numbers of the first record; the others tell
how much the numbers vary.
"""

import argparse
import json
import os
import platform
import re
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import torch
from runs import REPO, last_checkpoint, run_tool
from transfer import TASKS

RECORD = REPO / 'docs/documented_runs.json'
CONVERTERS = 'tools/dataset_converters/'
TOKENIZER = 'configs/tokenizer/dvae_f8-k64_1xb32-13e_digits-32px.py'
CAE = 'configs/cae/cae_tiny-p8_1xb32-coslr-80e_digits-32px.py'
PACKAGES = (
    'torch',
    'torchvision',
    'numpy',
    'onedl-mmengine',
    'onedl-mmcv',
    'onedl-mmpretrain',
    'onedl-mmsegmentation',
    'onedl-mmdetection',
)
# Fields of a log line that change with the load of the machine.
TIMES = ('eta', 'time', 'data_time')
# Variables that make the libraries use no newer instructions than a processor
# has. oneDNN and MKL read theirs when they are loaded.
PROCESSORS = {
    'avx2': dict(
        ATEN_CPU_CAPABILITY='avx2',
        ONEDNN_MAX_CPU_ISA='AVX2',
        MKL_ENABLE_INSTRUCTIONS='AVX2',
    ),
}


def processor() -> str:
    """The processor's name, and the instructions that PyTorch uses."""
    name = platform.processor() or platform.machine()
    info = Path('/proc/cpuinfo')
    if info.is_file():
        found = re.search(r'^model name\s*:\s*(.+)$', info.read_text(), re.M)
        name = found[1] if found else name
    return f'{name}, {torch.backends.cpu.get_cpu_capability()}'


def describe_machine(limited_to: str | None) -> dict:
    """Processor and versions of this machine."""
    packages = {name: version(name) for name in PACKAGES if installed(name)}
    return dict(
        processor=processor(),
        limited_to=limited_to,
        system=f'{platform.system()} {platform.machine()}',
        threads=1,
        python=platform.python_version(),
        packages=packages,
    )


def installed(package: str) -> bool:
    """Whether a package is installed."""
    try:
        version(package)
    except ModuleNotFoundError:
        return False
    return True


def training_lines(printed: str) -> list[dict[str, str]]:
    """The numbers of each training line in a log, as the log prints them.

    Raises:
        ValueError: If there is no such line.
    """
    place = r'Epoch\(train\)\s+\[\s*\d+\]\[[^]]+\]'
    lines = re.findall(f'- INFO - ({place})(.*)$', printed, re.M)
    if not lines:
        raise ValueError('the log has no line of a training')
    numbers = []
    for at, rest in lines:
        fields = re.findall(r'(\w+): ([\d.e+:-]+)', rest)
        shown = {k: v for k, v in fields if k not in TIMES}
        numbers.append({'at': ' '.join(at.split()), **shown})
    return numbers


class Runs:
    """The runs. Each runs once in a work folder.

    Args:
        work: Folder for data, checkpoints and logs.
    """

    def __init__(self, work: Path) -> None:
        self.work = work
        # Commands of the current run, for the record.
        self.commands: list[str] = []

    def tool(self, name: str, *command: str | Path) -> str:
        """Run a tool of the repository; returns what it printed."""
        line = ' '.join(map(str, ('python', *command)))
        self.commands.append(line.replace(str(self.work), 'WORK'))
        print(f'  {self.commands[-1]}', flush=True)
        return run_tool(self.work / name, *command)

    def train(self, name: str, config: str, *options: str) -> str:
        """Train a config in a folder of its own."""
        folder = ('--work-dir', self.work / name, '--overwrite')
        more = ('--cfg-options', *options) if options else ()
        return self.tool(name, 'tools/train.py', config, *folder, *more)

    def demo(self) -> dict:
        """Run `make demo`: the accuracy of the probes for each seed."""
        folder = self.work / 'demo'
        self.tool('demo', 'demo/run_demo.py', '--work-dir', folder)
        results = json.loads((folder / 'results.json').read_text())
        return {k: results[k] for k in ('probes', 'token_accuracy', 'seeds')}

    def digits(self) -> dict:
        """Train as README does on a CPU: the last log lines and the first."""
        data = self.digits_data()
        printed = self.train('digits/tokenizer', TOKENIZER, data)
        (*_, tokenizer) = training_lines(printed)
        printed = self.train('digits/cae', CAE, data, self.tokenizer())
        first, *_, last = training_lines(printed)
        return dict(tokenizer=tokenizer, first=first, last=last)

    def digits_data(self) -> str:
        """Write the digits; returns the option that names their folder."""
        folder = self.work / 'digits/data'
        self.tool('digits/data', f'{CONVERTERS}digits.py', folder)
        return f'data_root={folder / "train"}'

    def need_digits(self) -> None:
        """Run `digits`, unless it has run."""
        if not (self.work / 'digits/cae/last_checkpoint').is_file():
            self.digits()

    def tokenizer(self) -> str:
        """The option that names the tokenizer of `digits`."""
        file = last_checkpoint(self.work / 'digits/tokenizer')
        return f'model.target_generator.init_cfg.checkpoint={file}'

    def two_processes(self) -> dict:
        """Train one epoch on the digits in two processes with 16 images."""
        self.need_digits()
        folder = self.work / 'two_processes'
        printed = self.tool(
            'two_processes',
            *('-m', 'torch.distributed.run', '--nproc_per_node=2'),
            *('tools/train.py', CAE, '--launcher', 'pytorch'),
            *('--work-dir', folder, '--overwrite', '--cfg-options'),
            *(self.digits_data(), self.tokenizer()),
            *('train_dataloader.batch_size=16', 'train_cfg.max_epochs=1'),
        )
        return dict(first=training_lines(printed)[0])

    def neighbors(self) -> dict:
        """Classify by nearest neighbors, with features from files."""
        images = self.work / 'neighbors/data'
        converter = f'{CONVERTERS}digits.py'
        self.tool('neighbors/data', converter, images, '--class-folders')
        files = []
        for split in ('train', 'test'):
            files.append(self.work / f'neighbors/{split}.npz')
            self.tool(
                f'neighbors/{split}',
                *('tools/extract_features.py', CAE, self.encoder()),
                *(images / split, files[-1], '--crop-ratio', '1'),
            )
        ks = ('--k', '5', '10', '20')
        printed = self.tool('neighbors/knn', 'tools/knn.py', *files, *ks)
        return dict(printed=printed.strip().splitlines()[-4:])

    def segmentation(self) -> dict:
        """Train UPerNet on the small dataset in ADE20K's layout."""
        return self.transfer('segmentation')

    def detection(self) -> dict:
        """Train Mask R-CNN on the small dataset in COCO's layout."""
        return self.transfer('detection')

    def transfer(self, name: str) -> dict:
        """Train from the demo's encoder: each evaluation, in %."""
        task = TASKS[name]
        data = self.work / name / 'data'
        self.tool(f'{name}/data', task.converter, data)
        printed = self.train(
            f'{name}/run',
            task.config,
            f'checkpoint={self.encoder()}',
            f'data_root={data}/',
        )
        return {
            metric: [
                round(task.factor * float(value), 2)
                for value in re.findall(pattern, printed)
            ]
            for metric, pattern in task.metrics.items()
        }

    def encoder(self) -> Path:
        """Encoder of `digits`, equal bit by bit to the demo's of seed 0."""
        self.need_digits()
        return last_checkpoint(self.work / 'digits/cae')


RUNS: dict[str, Callable[[Runs], dict]] = dict(
    demo=Runs.demo,
    digits=Runs.digits,
    two_processes=Runs.two_processes,
    neighbors=Runs.neighbors,
    segmentation=Runs.segmentation,
    detection=Runs.detection,
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--runs',
        choices=RUNS,
        nargs='+',
        default=list(RUNS),
        help='what to run (default: everything)',
    )
    parser.add_argument(
        '--as-processor',
        choices=PROCESSORS,
        help='use no newer instructions than this processor has',
    )
    parser.add_argument(
        '--work-dir',
        type=Path,
        default=Path('work_dirs/documented'),
        help='folder for data, checkpoints and logs (default: %(default)s)',
    )
    parser.add_argument(
        '--record',
        type=Path,
        default=RECORD,
        help="file for the numbers (default: the repository's)",
    )
    return parser.parse_args()


def find_record(records: list[dict], machine: dict) -> dict:
    """The record of a machine; a new one is appended if there is none."""
    for record in records:
        if record['machine'] == machine:
            return record
    records.append(dict(machine=machine, runs={}))
    return records[-1]


def main() -> None:
    args = parse_args()
    limits = PROCESSORS.get(args.as_processor, {})
    missing = {k: v for k, v in limits.items() if os.environ.get(k) != v}
    if missing:
        # torch has read them when it was loaded, so start again.
        os.environ.update(missing)
        os.execv(sys.executable, [sys.executable, *sys.argv])
    machine = describe_machine(args.as_processor)
    folder = f'{machine["packages"]["torch"]}-{args.as_processor or "native"}'
    runs = Runs(args.work_dir.resolve() / folder)
    for name in args.runs:
        print(f'{name} ...', flush=True)
        runs.commands = []
        results = RUNS[name](runs)
        # Another process may have written to the file since.
        text = args.record.read_text() if args.record.is_file() else '[]'
        records = json.loads(text)
        record = find_record(records, machine)
        record['runs'][name] = dict(commands=runs.commands, results=results)
        args.record.write_text(json.dumps(records, indent=1) + '\n')
    print(f'recorded in {args.record}')


if __name__ == '__main__':
    main()
