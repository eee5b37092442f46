# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Measure whether it pays to continue from weights of another kind of image.

    npm pack emoji-datasource-google@16.0.0 emoji-datasource-twitter@16.0.0
    python benchmarks/adapt_study.py --packages *.tgz --choose
    python benchmarks/adapt_study.py --packages *.tgz
    python benchmarks/adapt_study.py --table

Digits to emoji, and emoji to digits. The start is the packaged CAE of the
other images. Compares training from it (``adapted``) with the same training
from random weights (``scratch``), and with encoders that are not trained: the
start itself (``start``) and random weights (``random``). All four have the
same architecture, that of the start; tokenizer, images, masks and number of
images seen are the same as well.

``--choose`` compares settings on a fifth of the training images, which it
neither trains nor fits a probe on. The other command measures the recipe,
``mmcae/cli/planning/adaptation.py``, on the test images. Each finished cell
stays in ``--work-dir``, so both can be stopped and called again. They write
``docs/adapt_study.json`` after each cell, and its tables into
``docs/adapt.md``; ``--table`` does only this.
"""

import argparse
import json
import multiprocessing
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from adapt_table import filled, tables
from runs import REPO

from mmcae.checkpoint.files import atomic_write
from mmcae.cli.planning.adaptation import ADAPTATION

RECORD, PAGE = REPO / 'docs/adapt_study.json', REPO / 'docs/adapt.md'
ARMS = ('random', 'start', 'scratch', 'adapted')
TRAINED = ARMS[2:]


@dataclass(frozen=True)
class Direction:
    """From one kind of image to another.

    Attributes:
        name: In words.
        target: The images that are trained on, a folder of the work dir.
        config: The recipe.
        epochs: A quarter of those of the recipe from scratch.
        lr: The peak of the recipe from scratch.
    """

    name: str
    target: str
    config: str
    epochs: int
    lr: float


DIRECTIONS = (
    Direction(
        'emoji to digits',
        'digits',
        'cae_tiny-p8_1xb32-adapt-from-emoji-coslr-20e_digits-32px',
        epochs=20,
        lr=2e-3,
    ),
    Direction(
        'digits to emoji',
        'emoji',
        'cae_tiny-p8_1xb32-adapt-from-digits-coslr-8e_emoji-48px',
        epochs=8,
        lr=1.5e-3,
    ),
)
ALL, FEW = 'all images', '300 images'
FEW_EPOCHS = 30
#: Peak factors and layer decays to choose from.
SETTINGS = ((0.25, 1.0), (0.5, 1.0), (1.0, 1.0), (0.5, 0.8), (1.0, 0.8))


@dataclass(frozen=True)
class Cell:
    """One encoder, and its evaluation.

    Attributes:
        direction: Name of the direction.
        images: What is trained on: `ALL` or `FEW`.
        arm: One of `ARMS`.
        seed: Of initial weights, order, masks, probe, and the 300 images.
        split: ``'test'``, or ``'val'`` to choose settings.
        peak: Peak of the learning rate, divided by that from scratch.
        decay: Layer decay.
    """

    direction: str
    images: str
    arm: str
    seed: int
    split: str = 'test'
    peak: float = 1.0
    decay: float = 1.0

    @property
    def name(self) -> str:
        """Name of its folder."""
        values = map(str, asdict(self).values())
        return '_'.join(values).replace(' ', '-').replace(',', '')

    @property
    def epochs(self) -> int:
        """Length of its training."""
        return FEW_EPOCHS if self.images == FEW else self.where.epochs

    @property
    def where(self) -> Direction:
        """Its direction."""
        return next(d for d in DIRECTIONS if d.name == self.direction)

    def lists(self) -> tuple[str, str]:
        """Names of the lists of images to train on, and to test with."""
        train = 'fit' if self.split == 'val' else 'train'
        if self.images != ALL:
            train = f'{train}_300_seed{self.seed}'
        return train, self.split


def test_cells(seeds: list[int]) -> Iterator[Cell]:
    """The cells of the comparison, seed by seed, the short ones first."""
    recipe = ADAPTATION.peak_factor, ADAPTATION.layer_decay
    for seed in seeds:
        for direction in DIRECTIONS:
            for images in (FEW, ALL):
                for arm in ARMS:
                    peak, decay = recipe if arm == 'adapted' else (1.0, 1.0)
                    yield Cell(
                        direction.name,
                        images,
                        arm,
                        seed,
                        peak=peak,
                        decay=decay,
                    )


def choice_cells() -> Iterator[Cell]:
    """The cells that settings are chosen by, all of seed 0."""
    for images in (FEW, ALL):
        for peak, decay in SETTINGS:
            for direction in DIRECTIONS:
                yield Cell(
                    direction.name, images, 'adapted', 0, 'val', peak, decay
                )


def options(cell: Cell, data: Path, epochs: int) -> dict[str, Any]:
    """What a cell changes in its recipe."""
    root = data / cell.where.target
    changes: dict[str, Any] = {
        'lr': cell.peak * cell.where.lr,
        'layer_decay': cell.decay,
        'max_epochs': epochs,
        'warmup_epochs': max(1, round(ADAPTATION.warmup_share * epochs)),
        'randomness.seed': cell.seed,
        'train_dataloader.dataset.data_root': str(root),
        'train_dataloader.dataset.list_file': str(
            root / f'{cell.lists()[0]}.txt'
        ),
    }
    if cell.arm in ('random', 'scratch'):
        changes['load_from'] = None
    return changes


class Study:
    """All cells, in one folder.

    Args:
        args: The command line.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.work = args.work_dir.resolve()
        self.start = time.perf_counter()

    def measure(self, cell: Cell) -> dict[str, Any]:
        """Measure a cell, unless that was done; its values and results."""
        done = self.work / 'cells' / cell.name / 'result.json'
        if done.is_file():
            return json.loads(done.read_text())
        from adapt_cell import in_child

        args, where = self.args, cell.where
        epochs = cell.epochs if args.epochs is None else args.epochs
        lists = tuple(
            self.work / where.target / f'{name}.txt' for name in cell.lists()
        )
        # A process of its own for each cell: mmengine keeps loggers and other
        # things of a run. Not forked: a fork of a process with threads can
        # wait forever. Not multiprocessing.Pool: it waits forever for a
        # process that was killed.
        spawn = multiprocessing.get_context('spawn')
        with ProcessPoolExecutor(1, mp_context=spawn) as pool:
            found = pool.submit(
                in_child,
                done.with_name('console.log'),
                where.config,
                options(cell, self.work, epochs),
                done.parent / 'run',
                cell.arm in TRAINED,
                lists,
                args.probe_steps,
                # One training stands for a setting, so its probe is
                # measured three times.
                3 if cell.split == 'val' else 1,
            ).result()
        result = {**asdict(cell), **found}
        with atomic_write(done) as file:
            file.write(json.dumps(result).encode())
        seconds = time.perf_counter() - self.start
        print(
            f'[{seconds:5.0f} s] {cell.name}: 10-NN {found["knn"]:.1f}, '
            f'attentive {found["attentive"]:.1f}',
            flush=True,
        )
        return result

    def run(self) -> None:
        """Measure all cells, and write them into the record."""
        from adapt_cell import prepare
        from documented_runs import describe_machine

        prepare(self.work, self.args.packages, self.args.seeds)
        if self.args.choose:
            part, cells = 'choice', choice_cells()
        else:
            part, cells = 'test', test_cells(self.args.seeds)
        path = self.args.record
        record = json.loads(path.read_text()) if path.is_file() else {}
        record['machine'] = describe_machine(None)
        record['recipe'] = asdict(ADAPTATION)
        record[part] = []
        for cell in cells:
            record[part].append(self.measure(cell))
            path.write_text(json.dumps(record, indent=1) + '\n')


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--packages',
        type=Path,
        nargs='+',
        help='npm packages with the emoji, see above; not needed once the '
        'images are in --work-dir',
    )
    parser.add_argument(
        '--choose',
        action='store_true',
        help='compare settings on validation images instead',
    )
    parser.add_argument(
        '--table',
        action='store_true',
        help='print the tables of the record, write them into the page, '
        'and stop',
    )
    parser.add_argument(
        '--seeds',
        type=int,
        nargs='+',
        default=[0, 1, 2],
        help='one run per seed (default: 0 1 2)',
    )
    parser.add_argument(
        '--work-dir',
        type=Path,
        default=Path('work_dirs/adapt_study'),
        help='folder for data, logs and cells (default: %(default)s)',
    )
    parser.add_argument(
        '--record',
        type=Path,
        default=RECORD,
        help='where to write the results (default: %(default)s)',
    )
    parser.add_argument(
        '--epochs',
        type=int,
        help='length of every training, to try the tool out',
    )
    parser.add_argument(
        '--probe-steps',
        type=int,
        default=600,
        help='steps of the attentive probe (default: %(default)s)',
    )
    args = parser.parse_args(argv)
    there = (args.work_dir / 'emoji/test').is_dir()
    if not (args.table or there or args.packages):
        parser.error('the emoji need --packages')
    return args


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    if not args.table:
        Study(args).run()
    parts = tables(json.loads(args.record.read_text()))
    print('\n\n'.join(parts.values()))
    if args.record == RECORD:
        PAGE.write_text(filled(PAGE.read_text(), parts))


if __name__ == '__main__':
    main()
