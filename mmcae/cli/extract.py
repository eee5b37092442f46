# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Encode a folder of images and write the features to one file.

    mmcae extract CONFIG CHECKPOINT ROOT OUT

The file holds `features` (N, D), `labels` (N,), the names of the classes and
the paths of the images. The class of an image is its folder below ROOT; if
there are no folders, there are no labels. Unreadable images are left out,
counted and named. As in training, more than three of them (or more than 1 %
of a large dataset) stop the run.
"""

import argparse
from pathlib import Path

HELP = 'encode a folder of images'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb."""
    parser.add_argument(
        'config',
        help='config of CAE or of a classifier with its encoder: a path, or '
        'the name of a packaged config',
    )
    parser.add_argument(
        'checkpoint',
        help="checkpoint in any format that mmcae reads; 'mmcae://NAME' for "
        "weights of the package; 'random' for newly initialized weights",
    )
    parser.add_argument('root', type=Path, help='folder of images')
    parser.add_argument(
        'out', type=Path, help='file to write: .npz or .safetensors'
    )
    parser.add_argument(
        '--pool',
        choices=['mean', 'cls', 'both'],
        default='mean',
        help='feature of an image: the mean of the patch tokens (default), '
        'the class token, or both, concatenated',
    )
    parser.add_argument(
        '--crop-ratio',
        type=float,
        default=0.875,
        help='side of the center crop divided by the short side of the '
        'resized image (default: 0.875, which is 224 / 256); 1 keeps square '
        'images whole',
    )
    parser.add_argument(
        '--batch-size',
        type=int,
        default=64,
        help='images per batch (default: 64)',
    )
    parser.add_argument(
        '--num-workers',
        type=int,
        default=4,
        help='processes that load images (default: 4)',
    )
    parser.add_argument(
        '--device',
        help='device of the model (default: cuda if there is a GPU)',
    )
    parser.add_argument(
        '--seed', type=int, default=0, help="seed of 'random' (default: 0)"
    )
    parser.add_argument(
        '--max-unreadable',
        type=float,
        default=0.01,
        help='share of images that may be unreadable (default: 0.01); up to '
        'three images always may, unless the share is 0',
    )


def main(args: argparse.Namespace) -> None:
    """Encode the images and write the file."""
    from mmcae.apis.folder_features import extract_folder
    from mmcae.config.overrides import ConfigError

    if args.out.suffix not in ('.npz', '.safetensors'):
        raise ConfigError(f'{args.out} must end in .npz or .safetensors')
    found = extract_folder(
        args.config,
        args.checkpoint,
        args.root,
        pool=args.pool,
        crop_ratio=args.crop_ratio,
        batch_size=args.batch_size,
        num_workers=args.num_workers,
        device=args.device,
        seed=args.seed,
        max_unreadable=args.max_unreadable,
    )
    found.write(args.out)
    classes = found.classes
    count = 'no labels' if classes is None else f'{len(classes)} classes'
    images, width = found.features.shape
    print(
        f'{images} images, {width} numbers each ({args.pool}, {found.side} '
        f'px, last block), {count} -> {args.out}'
    )
    total = images + len(found.skipped)
    print(f'Unreadable images: {len(found.skipped)} of {total}')
    for name in found.skipped:
        print(f'  left out: {name}')
