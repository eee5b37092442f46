# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Prepare ImageNet for training, check it, or take a part of it.

    python tools/dataset_converters/imagenet.py COMMAND --help

ROOT is the folder that holds train/, val/ and perhaps meta/: the data_root of
the configs. No command removes or overwrites a file.
"""

import argparse
import json
import os
import shlex
import sys
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import imagenet_archives as archives
import imagenet_subset as subset
from imagenet_check import METHODS, check_split
from imagenet_labels import read_devkit
from imagenet_layout import WNIDS, explain_empty, read_split, write_list
from torchvision.datasets.imagenet import ARCHIVE_META

from mmcae.checkpoint.download import atomic_write

LABELS_HELP = (
    'labels of the validation images: the development kit (archive or '
    "folder), Kaggle's LOC_val_solution.csv, or a file with lines of "
    "'name label'"
)
ROOT_HELP = 'folder that holds train/, val/ and perhaps meta/'
SUBSET_HELP = 'accept a part of ImageNet: missing images are not an error'


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar='COMMAND')

    part = commands.add_parser(
        'prepare',
        help='unpack the original archives into class folders',
        description='Unpack the archives that are in SOURCE into class '
        'folders. After an interruption, run the command again: it keeps the '
        'files that are complete.',
    )
    part.set_defaults(run=run_prepare)
    part.add_argument('source', type=Path, help='folder with the archives')
    part.add_argument('root', type=Path, help='folder to write to')
    part.add_argument(
        '--labels',
        type=Path,
        help=f'{LABELS_HELP} (default: the development kit in SOURCE)',
    )
    part.add_argument(
        '--md5', action='store_true', help='compare the MD5 checksums first'
    )
    part.add_argument('--subset', action='store_true', help=SUBSET_HELP)

    part = commands.add_parser(
        'check',
        help='find missing classes and images, and unreadable images',
        description='Check the files that training would read: those listed '
        'in meta/<split>.txt, or else class folders. The exit status is 1 if '
        'there is any problem.',
    )
    part.set_defaults(run=run_check)
    part.add_argument('root', type=Path, help=ROOT_HELP)
    part.add_argument(
        '--split',
        nargs='+',
        choices=['train', 'val'],
        default=['train', 'val'],
        help='splits to check (default: both)',
    )
    part.add_argument(
        '--ann-file',
        type=Path,
        help='list file to read instead of meta/<split>.txt, relative to '
        'ROOT; needs one --split and implies --subset',
    )
    part.add_argument('--subset', action='store_true', help=SUBSET_HELP)
    part.add_argument(
        '--images',
        choices=list(METHODS),
        default='decode',
        help='decode every image as training does (default), read headers '
        'only (fast, but does not find truncated files), or open no image',
    )
    part.add_argument(
        '--devkit',
        type=Path,
        help='development kit (archive or folder), to compare the size of '
        'each training class exactly',
    )
    part.add_argument(
        '--workers',
        type=positive,
        default=os.cpu_count(),
        help='processes that open images (default: all cores)',
    )
    part.add_argument('--json', type=Path, help='file for a report')

    part = commands.add_parser(
        'lists',
        help='write a list file of class folders or of a flat val/',
        description='Write a list file with lines of "path label". Images '
        'are neither moved nor copied.',
    )
    part.set_defaults(run=run_lists)
    part.add_argument('root', type=Path, help=ROOT_HELP)
    part.add_argument('split', choices=['train', 'val'])
    part.add_argument('--labels', type=Path, help=LABELS_HELP)
    part.add_argument('--subset', action='store_true', help=SUBSET_HELP)
    part.add_argument(
        '--out',
        type=Path,
        help='file to write (default: ROOT/meta/<split>.txt)',
    )

    part = commands.add_parser(
        'subset',
        help='choose some images of each class, or some classes',
        description='Write a list file of the chosen images; --copy and '
        '--link write the images instead. The labels number the chosen '
        'classes in the order of their names.',
    )
    part.set_defaults(run=run_subset)
    part.add_argument('root', type=Path, help=ROOT_HELP)
    part.add_argument('split', choices=['train', 'val'])
    part.add_argument(
        '--per-class', type=positive, help='number of images of each class'
    )
    part.add_argument(
        '--classes',
        metavar='K|FILE',
        help='the first K classes, or the classes in a file, one per line',
    )
    part.add_argument(
        '--seed', type=int, default=0, help='seed of the draw (default: 0)'
    )
    target = part.add_mutually_exclusive_group()
    target.add_argument(
        '--out',
        type=Path,
        help='list file to write (default: a file in ROOT/meta/ whose name '
        'states the options)',
    )
    target.add_argument(
        '--copy', type=Path, metavar='DIR', help='copy the images into DIR'
    )
    target.add_argument(
        '--link',
        type=Path,
        metavar='DIR',
        help='write symbolic links to the images into DIR',
    )

    args = parser.parse_args(argv)
    if args.run is run_check and args.ann_file and len(args.split) > 1:
        parser.error('--ann-file needs exactly one --split')
    if args.run is run_subset and not (args.per_class or args.classes):
        parser.error('subset needs --per-class, --classes or both')
    return args


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, got '{text}'")
    return int(text)


def run_prepare(args: argparse.Namespace) -> int:
    labels = args.labels or args.source / ARCHIVE_META['devkit'][0]
    found = archives.find_archives(args.source, args.md5)
    problems = []
    for split, done in archives.prepare(found, args.root, labels).items():
        print(
            f'{split}: {done.total:,} images of {len(done.classes):,} '
            f'classes in {args.root / split}, {done.written:,} of them '
            'written now'
        )
        problems += [
            f'{split}: {problem}'
            for problem in done.problems(split, not args.subset)
        ]
    return conclude(problems)


def run_check(args: argparse.Namespace) -> int:
    sizes = read_devkit(args.devkit).train_sizes if args.devkit else None
    splits = {}
    for name in args.split:
        report = splits[name] = check_split(
            args.root,
            name,
            whole=not (args.subset or args.ann_file),
            method=args.images,
            workers=args.workers,
            ann_file=args.ann_file,
            train_sizes=sizes,
        )
        details = [report[k] for k in ('layout', 'opened') if k in report]
        print(
            f'{name}: {report["images"]:,} images of {report["classes"]:,} '
            f'classes, {report["source"]} ({", ".join(details) or "nothing"})'
        )
    problems = [
        f'{name}: {problem}'
        for name, report in splits.items()
        for problem in report['problems']
    ]
    if args.json:
        text = json.dumps(dict(ok=not problems, splits=splits), indent=2)
        with atomic_write(args.json) as file:
            file.write(f'{text}\n'.encode())
    return conclude(problems)


def run_lists(args: argparse.Namespace) -> int:
    samples = subset.list_samples(
        args.root, args.split, args.labels, not args.subset
    )
    default = args.root / 'meta' / f'{args.split}.txt'
    out = args.out or default
    write_list(out, samples)
    print(f'{len(samples):,} images in {out}')
    print_options(args, None if out == default else out)
    return 0


def run_subset(args: argparse.Namespace) -> int:
    split = read_split(args.root, args.split)
    if not split.samples:
        raise ValueError(explain_empty(split))
    classes = subset.choose_classes(split, args.classes)
    samples = subset.choose_samples(split, classes, args.per_class, args.seed)
    sizes = [0] * len(classes)
    for _, label in samples:
        sizes[label] += 1
    out = args.out or args.root / 'meta' / subset_name(args)
    folder = args.copy or args.link
    if folder:
        subset.place_files(split, classes, samples, folder, bool(args.link))
    else:
        write_list(out, samples)
    print(
        f'{len(samples):,} images of {len(classes):,} classes in '
        f'{folder or out}'
    )
    if args.per_class and min(sizes) < args.per_class:
        few = sum(size < args.per_class for size in sizes)
        print(f'{few} classes have fewer than {args.per_class} images')
    print_options(args, None if folder else out, folder, len(classes))
    return 0


def subset_name(args: argparse.Namespace) -> str:
    parts = [args.split]
    if args.classes:
        parts.append(f'{Path(args.classes).stem}-classes')
    if args.per_class:
        parts.append(f'{args.per_class}-per-class-seed{args.seed}')
    return '_'.join(parts) + '.txt'


def print_options(
    args: argparse.Namespace,
    out: Path | None,
    root: Path | None = None,
    num_classes: int = len(WNIDS),
) -> None:
    """Print the options with which a config reads what was written."""
    options = [f'data_root={root or args.root}']
    if out is not None:
        inside = out.is_relative_to(args.root)
        path = out.relative_to(args.root) if inside else out.resolve()
        loaders = ('train',) if args.split == 'train' else ('val', 'test')
        options += [
            f'{loader}_dataloader.dataset.ann_file={path}'
            for loader in loaders
        ]
    print('train with --cfg-options', shlex.join(options))
    if num_classes != len(WNIDS):
        print(
            f'and a classifier with model.head.num_classes={num_classes} '
            f'data_preprocessor.num_classes={num_classes}'
        )


def conclude(problems: list[str]) -> int:
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f'{len(problems)} problems' if problems else 'all is well')
    return 1 if problems else 0


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    try:
        return args.run(args)
    except (ValueError, OSError, BrokenProcessPool) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1


if __name__ == '__main__':
    sys.exit(main())
