# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Measure what pretraining gains in segmentation and detection, on a CPU.

    python benchmarks/transfer.py --task segmentation
    python benchmarks/transfer.py --task detection

There are many images without labels, and few with labels. For each seed,
pretrains a tiny CAE on 1,024 unlabeled scenes: digits on photographs. Then
trains the same segmentor or detector on a few labeled scenes, starting from
this CAE, from mmpretrain's own CAE of the same size, and from random weights,
for the same number of iterations. Each seed has its own labeled scenes and its
own validation scenes. No digit, and no part of a photograph, is in both a
validation scene and a scene of training or pretraining.

Every step is a run of ``tools/*.py``. A finished step is not repeated, and
both tasks share the pretraining. Writes ``results.json`` and ``table.md``.
"""

import argparse
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from runs import run_tool, start_options
from small_scale import ARMS, CAE, PEERS, Data, Study
from table import NAMES, summarize

TRANSFER = f'{CAE}transfer/'
SCENES = Data(
    'configs/tokenizer/dvae_f8-k128_1xb32-30e_scenes-48px.py',
    f'{CAE}cae_tiny-p8_1xb32-coslr-80e_scenes-48px.py',
    str(PEERS / 'mmpretrain_cae_scenes.py'),
    '',
)
# The seed is not that of any labeled dataset.
UNLABELED, UNLABELED_SEED = 1024, 100


@dataclass
class Task:
    """A dataset, the config that trains on it, and what the log reports.

    Attributes:
        converter: Script that writes the dataset.
        config: Config of the training.
        schedule: Returns the options of the config for a length.
        length: Length of a training, in iterations or epochs.
        metrics: Patterns that find a metric in the log, by heading.
        factor: What turns the metrics into %.
    """

    converter: str
    config: str
    schedule: Callable[[int], tuple[str, ...]]
    length: int
    metrics: dict[str, str]
    factor: float = 1.0


def segmentation_schedule(iterations: int) -> tuple[str, ...]:
    """Options of the segmentor: one decay of the rate, one validation."""
    return (
        f'train_cfg.max_iters={iterations}',
        f'train_cfg.val_interval={iterations}',
        f'default_hooks.checkpoint.interval={iterations}',
        f'param_scheduler.1.end={iterations + 1}',
    )


def detection_schedule(epochs: int) -> tuple[str, ...]:
    """Options of the detector: two steps of the rate, one validation."""
    steps = f'{epochs * 3 // 4},{epochs * 11 // 12}'
    return (
        'model.backbone.img_size=48',  # as in pretraining
        f'train_cfg.max_epochs={epochs}',
        f'train_cfg.val_interval={epochs}',
        f'default_hooks.checkpoint.interval={epochs}',
        f'param_scheduler.1.end={epochs}',
        f'param_scheduler.1.milestones=[{steps}]',
    )


TASKS = dict(
    segmentation=Task(
        'tools/dataset_converters/tiny_ade.py',
        f'{TRANSFER}ade20k/upernet_tiny-p8_cae-pre_1xb8-400i_tiny-ade-96px.py',
        segmentation_schedule,
        400,
        {'mIoU': r'mIoU: ([\d.]+)', 'mAcc': r'mAcc: ([\d.]+)'},
    ),
    detection=Task(
        'tools/dataset_converters/tiny_coco.py',
        f'{TRANSFER}coco/mask-rcnn_tiny-p8_cae-pre_1xb8-12e_tiny-coco-96px.py',
        detection_schedule,
        48,  # an epoch of 64 images has 8 iterations
        {
            'box AP': r'coco/bbox_mAP: ([\d.]+)',
            'mask AP': r'coco/segm_mAP: ([\d.]+)',
        },
        factor=100.0,
    ),
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--task',
        choices=TASKS,
        default='segmentation',
        help='what to train (default: %(default)s)',
    )
    parser.add_argument(
        '--work-dir',
        type=Path,
        default=Path('work_dirs/transfer'),
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
        type=int,
        default=64,
        help='number of labeled images (default: %(default)s)',
    )
    parser.add_argument(
        '--times',
        type=float,
        default=1,
        help='multiplies the length of a training (default: %(default)s)',
    )
    parser.add_argument(
        '--val-images',
        type=int,
        default=128,
        help='number of validation images (default: %(default)s)',
    )
    args = parser.parse_args()
    args.epochs = None  # pretraining has the length that its config says
    return args


def read_metrics(task: Task, printed: str) -> dict[str, float]:
    """The metrics of the last evaluation in a log, in %.

    Raises:
        ValueError: If the log has no evaluation.
    """
    found = {}
    for name, pattern in task.metrics.items():
        values = re.findall(pattern, printed)
        if not values:
            raise ValueError(f'the log has no {name}: nothing like {pattern}')
        found[name] = task.factor * float(values[-1])
    return found


def write_scenes(
    converter: str, folder: Path, train: int, val: int, seed: int
) -> None:
    """Run a converter, unless it has run."""
    sizes = ('--train', str(train), '--val', str(val))
    run_tool(folder, converter, folder, *sizes, '--seed', str(seed))


class Pretraining(Study):
    """Pretrains encoders on scenes without labels."""

    def __init__(self, args: argparse.Namespace) -> None:
        super().__init__(args, 'scenes', SCENES)
        self.unlabeled = self.images / 'images/training'

    def prepare(self) -> None:
        """Write the scenes; their labels are not read."""
        converter = TASKS['segmentation'].converter
        write_scenes(converter, self.images, UNLABELED, 0, seed=UNLABELED_SEED)


class Transfer:
    """All runs of one task."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.task = TASKS[args.task]
        self.study = Pretraining(args)
        name = args.task + (f'_x{args.times:g}' if args.times != 1 else '')
        self.work = args.work_dir.resolve() / name

    def measure(self, arm: str, seed: int, tokenizer: Path) -> dict:
        """Train from one encoder; returns the last evaluation."""
        checkpoint = self.study.pretrain(arm, seed, tokenizer)
        self.study.say(f'{arm}, seed {seed}: {self.args.task} ...')
        data = self.work / f'data_seed{seed}'
        sizes = (self.args.labels, self.args.val_images)
        write_scenes(self.task.converter, data, *sizes, seed)
        folder = self.work / f'{arm}_seed{seed}'
        length = round(self.args.times * self.task.length)
        printed = run_tool(
            folder,
            *('tools/train.py', self.task.config, '--work-dir', folder),
            '--overwrite',
            '--cfg-options',
            f'data_root={data}/',
            *start_options(checkpoint, layer_decay=True),
            *self.task.schedule(length),
            f'randomness.seed={seed}',
        )
        return read_metrics(self.task, printed)

    def run(self) -> dict:
        """Measure all arms and seeds, one after the other."""
        self.study.prepare()
        tokenizer = self.study.train_tokenizer()
        found: dict = {arm: [] for arm in self.args.arms}
        for seed in self.args.seeds:
            for arm in self.args.arms:
                found[arm].append(self.measure(arm, seed, tokenizer))
        return found


def write_table(folder: Path, arms: dict) -> str:
    """Write ``table.md``: one row per arm, with means over the seeds."""
    names = list(next(iter(arms.values()))[0])
    lines = [
        '| encoder | ' + ' | '.join(names) + ' |',
        '|---' * (len(names) + 1) + '|',
    ]
    for arm, runs in arms.items():
        cells = [summarize([run[name] for run in runs]) for name in names]
        name = 'random weights' if arm == 'random' else NAMES[arm]
        lines.append(f'| {name} | ' + ' | '.join(cells) + ' |')
    table = '\n'.join(lines) + '\n'
    (folder / 'table.md').write_text(table)
    return table


def main() -> None:
    args = parse_args()
    transfer = Transfer(args)
    arms = transfer.run()
    results = dict(
        task=args.task,
        seeds=args.seeds,
        arms=arms,
        seconds=time.perf_counter() - transfer.study.start,
    )
    (transfer.work / 'results.json').write_text(json.dumps(results, indent=2))
    print(write_table(transfer.work, arms))


if __name__ == '__main__':
    main()
