# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Color the patches of images by the principal components of their features.

    python tools/visualizations/features.py CHECKPOINT IMAGE-or-FOLDER ...

The components are those of all images together, so equal colors mean similar
features. --foreground selects the foreground by the first component and colors
only that. docs/visualize.md shows good and bad examples.
"""

import argparse
import os
import sys

from visualization_cli import start

from mmcae.cli.reconstruct import (
    add_model_arguments,
    add_out_argument,
    size_of,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model_arguments(parser)
    parser.add_argument('images', nargs='+', help='image files, or folders')
    parser.add_argument(
        '--foreground',
        action='store_true',
        help='color the foreground only',
    )
    parser.add_argument(
        '--columns',
        type=int,
        default=8,
        help='images in a row of the picture (default: 8)',
    )
    parser.add_argument(
        '--max-images',
        type=int,
        default=32,
        help='use the first images only (default: 32)',
    )
    add_out_argument(parser, 'out/features.png')


def main(args: argparse.Namespace) -> None:
    from mmengine.utils import ProgressBar

    from mmcae.apis.image_input import find_paths
    from mmcae.apis.image_views import view_maker
    from mmcae.apis.loading import load_model
    from mmcae.apis.patch_features import encode_images, pca_colors
    from mmcae.visualization import pair_sheet, save_figure

    loaded = load_model(
        args.checkpoint,
        config=args.config,
        device=args.device,
        with_tokenizer=False,
    )
    maker = view_maker(loaded, size_of(args), args.fit)
    paths = find_paths(*args.images)[: args.max_images]
    bar = ProgressBar(len(paths), file=sys.stderr)
    encoded = list(
        encode_images(loaded, paths, maker, args.batch_size, bar.update)
    )
    print(file=sys.stderr)
    found = pca_colors([item.patches for item in encoded], args.foreground)
    figure = pair_sheet(
        [item.view / 255 for item in encoded],
        list(found.colors),
        [os.path.basename(path) for path in paths],
        args.columns,
    )
    save_figure(figure, args.out)
    shares = ', '.join(f'{share:.0%}' for share in found.explained)
    print(f'{args.out}: the three components explain {shares} of the variance')


if __name__ == '__main__':
    start(__doc__, add_arguments, main)
