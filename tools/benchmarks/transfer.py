# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""What pretraining is worth for segmentation and detection, on a CPU.

    python tools/benchmarks/transfer.py --task segmentation
    python tools/benchmarks/transfer.py --task detection

For each seed: pretrains a tiny CAE on digits, then trains the same segmentor
or detector of digits on photographs from it, from mmpretrain's own CAE of the
same size, and from random weights, for equally many iterations. Every step is
a run of ``tools/*.py``; a step that is done is not repeated, nor are those of
``small_scale.py`` in the same ``--work-dir``. Writes ``results.json`` and
``table.md``.
"""

import argparse
import json
import re
import time
from dataclasses import dataclass
from pathlib import Path

from runs import last_checkpoint, run_tool
from small_scale import ARMS, Study
from table import summarise

TRANSFER = 'configs/cae/transfer/'


@dataclass
class Task:
    """A data set, the config that trains on it, and what it reports."""

    converter: str
    config: str
    metrics: dict[str, str]  # heading: pattern of the log


TASKS = dict(
    segmentation=Task(
        'tools/dataset_converters/tiny_ade.py',
        f'{TRANSFER}ade20k/cae-tiny-p8_upernet_1xb8-400i_tiny-ade-96px.py',
        {'mIoU': r'mIoU: ([\d.]+)', 'mAcc': r'mAcc: ([\d.]+)'},
    ),
    detection=Task(
        'tools/dataset_converters/tiny_coco.py',
        f'{TRANSFER}coco/cae-tiny-p8_mask-rcnn_1xb8-12e_tiny-coco-96px.py',
        {
            'box AP': r'coco/bbox_mAP: ([\d.]+)',
            'mask AP': r'coco/segm_mAP: ([\d.]+)',
        },
    ),
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--task', choices=TASKS, default='segmentation')
    parser.add_argument(
        '--work-dir', type=Path, default=Path('work_dirs/small_scale')
    )
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--arms', choices=ARMS, nargs='+', default=ARMS)
    parser.add_argument('--val-images', type=int, default=128)
    args = parser.parse_args()
    # The pretraining is that of small_scale.py.
    args.data, args.epochs = 'digits', None
    return args


class Transfer:
    """The runs of one task."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.task = TASKS[args.task]
        self.study = Study(args)
        self.work = args.work_dir.resolve() / args.task

    def measure(self, arm: str, seed: int, tokenizer: Path) -> dict:
        """Train from one encoder; return the last evaluation, in %."""
        checkpoint = self.study.pretrain(arm, seed, tokenizer)
        self.study.say(f'{arm}, seed {seed}: {self.args.task} ...')
        start = (
            'model.backbone.init_cfg=None'
            if checkpoint is None
            else f'checkpoint={checkpoint}'
        )
        folder = self.work / f'{arm}_seed{seed}'
        command = ('tools/train.py', self.task.config, '--work-dir', folder)
        options = (f'data_root={self.work / "data"}/', start)
        seeds = (f'randomness.seed={seed}',)
        run_tool(folder, *command, '--cfg-options', *options, *seeds)
        test = ('tools/test.py', self.task.config, last_checkpoint(folder))
        printed = run_tool(
            folder / 'test',
            *test,
            *('--work-dir', folder / 'test', '--cfg-options', options[0]),
        )
        found = {
            name: float(re.findall(pattern, printed)[-1])
            for name, pattern in self.task.metrics.items()
        }
        # COCO's numbers are shares.
        factor = 100 if self.args.task == 'detection' else 1
        return {name: factor * value for name, value in found.items()}

    def run(self) -> dict:
        """All arms and seeds, one after the other."""
        run_tool(
            self.work / 'data',
            self.task.converter,
            self.work / 'data',
            *('--val', str(self.args.val_images)),
        )
        self.study.prepare()
        tokenizer = self.study.train_tokenizer()
        return {
            arm: [self.measure(arm, s, tokenizer) for s in self.args.seeds]
            for arm in self.args.arms
        }


def write_table(folder: Path, arms: dict) -> str:
    """Write ``table.md``: one row an arm, means over the seeds."""
    names = list(next(iter(arms.values()))[0])
    lines = [
        '| encoder | ' + ' | '.join(names) + ' |',
        '|---' * (len(names) + 1) + '|',
    ]
    for arm, runs in arms.items():
        cells = [summarise([run[name] for run in runs]) for name in names]
        lines.append(f'| {arm} | ' + ' | '.join(cells) + ' |')
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
