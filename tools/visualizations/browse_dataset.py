# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Draw what the training pipeline of a config feeds to the model.

    python tools/visualizations/browse_dataset.py CONFIG --epochs 4

Each row is one image, each group of columns one epoch: the encoder's view with
its mask, and the tokenizer's view. The samples are exactly those of a training
run with the same seed. CONFIG may also be a checkpoint.
"""

import argparse

from visualization_cli import start

from mmcae.cli.reconstruct import add_out_argument
from mmcae.launch.runner import CFG_OPTIONS_HELP, StrictDictAction


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        'config',
        help='a path, the name of a packaged config, or a checkpoint',
    )
    parser.add_argument(
        '--images',
        type=int,
        nargs='+',
        help='indices of images in the dataset (default: the first four)',
    )
    parser.add_argument(
        '--epochs', type=int, default=3, help='epochs to draw (default: 3)'
    )
    parser.add_argument(
        '--seed', type=int, help="seed of the run (default: the config's)"
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=StrictDictAction,
        metavar='KEY=VALUE',
        help=CFG_OPTIONS_HELP,
    )
    add_out_argument(parser, 'out/dataset.png')


def main(args: argparse.Namespace) -> None:
    from pathlib import Path

    from mmcae.apis.pipeline_samples import pipeline_samples, training_config
    from mmcae.config.overrides import load_config
    from mmcae.visualization import contact_sheet, sample_panels, save_figure

    if args.epochs < 1:
        raise ValueError(f'--epochs must be 1 or more, got {args.epochs}')
    is_config = Path(args.config).suffix not in ('.pth', '.safetensors')
    if is_config and args.cfg_options:
        config = load_config(args.config, args.cfg_options)
    else:
        config = training_config(args.config)
    indices = [0, 1, 2, 3] if args.images is None else args.images
    rows: dict[int, dict] = {}
    captions: dict[int, str] = {}
    for sample in pipeline_samples(
        config, indices, range(args.epochs), args.seed
    ):
        rows.setdefault(sample.index, {}).update(
            sample_panels(sample.views, sample.mask, f'epoch {sample.epoch}')
        )
        captions[sample.index] = f'image {sample.index}\n{sample.name}'
    figure = contact_sheet(list(rows.values()), list(captions.values()))
    save_figure(figure, args.out)
    print(args.out)


if __name__ == '__main__':
    start(__doc__, add_arguments, main)
