# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Measure what pretraining gains on two small labeled datasets, on a CPU.

    python benchmarks/small_scale.py --data digits
    npm pack emoji-datasource-google@16.0.0 emoji-datasource-twitter@16.0.0
    python benchmarks/small_scale.py --data emoji --packages *.tgz

For each seed, pretrains mmcae's CAE and mmpretrain's own, with the same
tokenizer and on the same number of images. Then evaluates both, and an encoder
with random weights: by a linear head, an attentive head, k nearest neighbors,
and fine-tuning (which for random weights is training from scratch). Evaluates
with all labels, and with ten per class, which are others for each seed. Every
step is a run of ``tools/*.py``; a finished step is not repeated. Writes
``results.json`` and ``table.md`` to ``--work-dir``.
"""

import argparse
import json
import re
import shutil
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from runs import REPO, last_checkpoint, run_tool, start_options
from table import write_table

sys.path.insert(0, str(REPO / 'tools/dataset_converters'))

PEERS = Path(__file__).resolve().parent / 'peers'
CAE, BENCH = 'configs/cae/', 'configs/cae/benchmarks/tiny-p8_cae-pre_1xb64-'
ARMS = ('random', 'mmpretrain', 'mmcae')
KINDS = ('linear', 'attentive', 'finetune')
FEW = 10  # labels per class
# Options of the evaluations with few labels: more and smaller steps.
FEW_OPTIONS = (
    'train_dataloader.batch_size=20',
    'train_cfg.max_epochs=90',
    'train_cfg.val_interval=90',
    'default_hooks.checkpoint.interval=90',
    'param_scheduler.1.end=90',
    'param_scheduler.1.T_max=87',
)


@dataclass
class Data:
    """Configs of one dataset.

    Attributes:
        tokenizer: Config of the tokenizer.
        cae: Config of our pretraining.
        peer: Config of mmpretrain's pretraining.
        suffix: End of the names of the evaluations' configs.
    """

    tokenizer: str
    cae: str
    peer: str
    suffix: str

    def evaluation(self, kind: str) -> str:
        """Config of an evaluation, one of `KINDS`."""
        kind = '' if kind == 'finetune' else f'{kind}-'
        return f'{BENCH}{kind}coslr-{self.suffix}.py'


DATA = dict(
    digits=Data(
        'configs/tokenizer/dvae_f8-k64_1xb32-13e_digits-32px.py',
        f'{CAE}cae_tiny-p8_1xb32-coslr-80e_digits-32px.py',
        str(PEERS / 'mmpretrain_cae_digits.py'),
        '30e_digits-32px',
    ),
    emoji=Data(
        'configs/tokenizer/dvae_f8-k128_1xb32-8e_emoji-48px.py',
        f'{CAE}cae_tiny-p8_1xb32-coslr-30e_emoji-48px.py',
        str(PEERS / 'mmpretrain_cae_emoji.py'),
        '15e_emoji-48px',
    ),
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--data',
        choices=DATA,
        default='digits',
        help='dataset (default: %(default)s)',
    )
    parser.add_argument(
        '--packages',
        type=Path,
        nargs='+',
        help='npm packages with the emoji, see above',
    )
    parser.add_argument(
        '--work-dir',
        type=Path,
        default=Path('work_dirs/small_scale'),
        help='folder for data, checkpoints and results (default: %(default)s)',
    )
    parser.add_argument(
        '--seeds',
        type=int,
        nargs='+',
        default=[0, 1, 2],
        help='one run per seed (default: 0 1 2)',
    )
    parser.add_argument(
        '--arms',
        choices=ARMS,
        nargs='+',
        default=ARMS,
        help='encoders to compare (default: all)',
    )
    parser.add_argument(
        '--labels',
        choices=['few', 'all'],
        nargs='+',
        default=['few', 'all'],
        help='evaluate with few labels, with all, or with both (default)',
    )
    parser.add_argument(
        '--jobs',
        type=int,
        default=2,
        help='number of runs at the same time (default: %(default)s)',
    )
    parser.add_argument(
        '--epochs',
        type=int,
        help='length of every training, to try the tool out (default: what '
        'the configs say)',
    )
    args = parser.parse_args()
    if args.data == 'emoji' and not args.packages:
        parser.error('--data emoji needs --packages')
    return args


def write_few(images: Path, seed: int) -> None:
    """Copy `FEW` images of each class from ``train`` to ``few_SEED``."""
    rng = np.random.default_rng(seed)
    for folder in sorted((images / 'train').iterdir()):
        target = images / f'few_{seed}' / folder.name
        target.mkdir(parents=True, exist_ok=True)
        names = sorted(path.name for path in folder.iterdir())
        for name in rng.choice(names, FEW, replace=False):
            shutil.copy(folder / name, target)


class Study:
    """All runs on one dataset, in one folder.

    Args:
        args: The command line.
        name: Name of the folder within ``--work-dir``.
        configs: Configs of the dataset.

    Attributes:
        images: Folder that `prepare` writes.
        unlabeled: The part of it that is used for pretraining.
    """

    def __init__(
        self, args: argparse.Namespace, name: str, configs: Data
    ) -> None:
        self.args = args
        self.configs = configs
        self.work = args.work_dir.resolve() / name
        self.images = self.work / 'data'
        self.unlabeled = self.images / 'train'
        self.start = time.perf_counter()

    def say(self, text: str) -> None:
        """Print a line with the seconds since the start."""
        seconds = time.perf_counter() - self.start
        print(f'[{seconds:5.0f} s] {text}', flush=True)

    def prepare(self) -> None:
        """Write the images, unless they exist."""
        done = self.images / 'done'
        if done.is_file():
            pass
        elif self.args.data == 'digits':
            from digits import write_digits

            write_digits(self.images, class_folders=True)
        else:
            from emoji import write_emoji

            for package in self.args.packages:
                write_emoji(self.images, package)
        done.touch()
        for seed in self.args.seeds:
            if not (self.images / f'few_{seed}').is_dir():
                write_few(self.images, seed)

    def train(self, config: str, folder: Path, *options: str) -> str:
        """Train a config in a folder; returns what was printed."""
        epochs = self.args.epochs
        if epochs is not None:
            shorter = [
                'train_cfg.max_epochs',
                'default_hooks.checkpoint.interval',
            ]
            if 'benchmarks/tiny' in config:
                shorter.append('train_cfg.val_interval')
            options += tuple(f'{key}={epochs}' for key in shorter)
        return run_tool(
            folder,
            'tools/train.py',
            config,
            '--work-dir',
            folder,
            '--overwrite',
            '--cfg-options',
            *options,
        )

    def train_tokenizer(self) -> Path:
        """Train the tokenizer; returns its checkpoint."""
        self.say('tokenizer ...')
        folder = self.work / 'tokenizer'
        root = f'data_root={self.unlabeled}'
        self.train(self.configs.tokenizer, folder, root)
        return last_checkpoint(folder)

    def pretrain(self, arm: str, seed: int, tokenizer: Path) -> Path | None:
        """Pretrain an encoder; returns its checkpoint, ``None`` if random."""
        if arm == 'random':
            return None
        self.say(f'{arm}, seed {seed}: pretraining ...')
        config = self.configs.peer if arm != 'mmcae' else self.configs.cae
        folder = self.work / f'{arm}_seed{seed}' / 'pretrain'
        self.train(
            config,
            folder,
            f'data_root={self.unlabeled}',
            f'tokenizer={tokenizer}',
            f'randomness.seed={seed}',
        )
        return last_checkpoint(folder)

    def probe(
        self,
        kind: str,
        labels: str,
        arm: str,
        seed: int,
        checkpoint: Path | None,
    ) -> float:
        """Train a linear or attentive head, or the whole model.

        Returns:
            The accuracy in %.
        """
        options = [f'data_root={self.images}', f'randomness.seed={seed}']
        if labels == 'few':
            few = f'train_dataloader.dataset.data_prefix=few_{seed}'
            options += [few, *FEW_OPTIONS]
        options += start_options(checkpoint, layer_decay=kind == 'finetune')
        folder = self.work / f'{arm}_seed{seed}' / f'{kind}_{labels}'
        printed = self.train(self.configs.evaluation(kind), folder, *options)
        return float(re.findall(r'accuracy/top1: ([\d.]+)', printed)[-1])

    def nearest(
        self, labels: str, arm: str, seed: int, checkpoint: Path | None
    ) -> float:
        """Classify by nearest neighbors of the pooled patch features.

        Returns:
            The accuracy in %.
        """
        folder = self.work / f'{arm}_seed{seed}'
        train = f'few_{seed}' if labels == 'few' else 'train'
        for split in (train, 'test'):
            run_tool(
                folder / f'features_{split}',
                'tools/extract_features.py',
                self.configs.cae,
                checkpoint or 'random',
                self.images / split,
                folder / f'{split}.npz',
                *('--crop-ratio', '1', '--num-workers', '0'),
                *('--seed', str(seed)),
            )
        files = (folder / f'{train}.npz', folder / 'test.npz')
        printed = run_tool(
            folder / f'knn_{labels}', 'tools/knn.py', *files, '--k', '10'
        )
        return float(re.findall(r'([\d.]+) %', printed)[-1])

    def measure(self, arm: str, seed: int, tokenizer: Path) -> dict:
        """Pretrain one encoder, and evaluate it in four ways."""
        checkpoint = self.pretrain(arm, seed, tokenizer)
        run = (arm, seed, checkpoint)
        result: dict = {}
        for labels in self.args.labels:
            self.say(f'{arm}, seed {seed}: evaluations, {labels} labels ...')
            result[labels] = {
                kind: self.probe(kind, labels, *run) for kind in KINDS
            }
            result[labels]['knn'] = self.nearest(labels, *run)
        done = self.work / f'{arm}_seed{seed}' / 'pretrain' / 'done.json'
        if done.is_file():
            result['pretrain_cpu'] = json.loads(done.read_text())['cpu']
        return result

    def run(self) -> dict:
        """Measure all arms and seeds, several at the same time."""
        self.prepare()
        tokenizer = self.train_tokenizer()
        pairs = [(arm, s) for s in self.args.seeds for arm in self.args.arms]
        job: Callable = lambda pair: self.measure(*pair, tokenizer)  # noqa: E731
        with ThreadPoolExecutor(self.args.jobs) as pool:
            results = list(pool.map(job, pairs))
        return {
            arm: [
                r for (a, _), r in zip(pairs, results, strict=True) if a == arm
            ]
            for arm in self.args.arms
        }


def main() -> None:
    args = parse_args()
    study = Study(args, args.data, DATA[args.data])
    results = dict(
        data=args.data,
        seeds=args.seeds,
        labels=args.labels,
        arms=study.run(),
        seconds=time.perf_counter() - study.start,
    )
    (study.work / 'results.json').write_text(json.dumps(results, indent=2))
    print(write_table(study.work, results))


if __name__ == '__main__':
    main()
