# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Draw a folder of images as a map on which similar images are neighbors.

    python tools/visualizations/embedding.py CHECKPOINT FOLDER

The result is one HTML file with thumbnails: zoom with the wheel, drag, point
at an image to see it larger, click a class to hide it. With --out map.png it
is a picture. The class of an image, which gives its color, is its folder below
FOLDER. docs/visualize.md shows good and bad examples.
"""

import argparse
import os
import sys

from visualization_cli import start

from mmcae.cli.reconstruct import (
    FORMATS,
    add_model_arguments,
    add_out_argument,
    size_of,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model_arguments(parser)
    parser.add_argument('images', nargs='+', help='folders of images')
    parser.add_argument(
        '--method',
        choices=['tsne', 'umap', 'pca'],
        default='tsne',
        help="how images are placed (default: tsne); 'umap' needs umap-learn",
    )
    parser.add_argument('--seed', type=int, default=0, help='default: 0')
    parser.add_argument(
        '--pool',
        choices=['mean', 'cls'],
        default='mean',
        help='feature of an image: the mean of its patches (default), or the '
        'class token',
    )
    parser.add_argument(
        '--max-images',
        type=int,
        default=1000,
        help='use this many images, evenly spread over all (default: 1000)',
    )
    add_out_argument(parser, 'out/embedding.html', ('.html', *FORMATS))


def main(args: argparse.Namespace) -> None:
    import numpy as np
    from mmengine.utils import ProgressBar

    from mmcae.apis.image_input import find_paths
    from mmcae.apis.image_views import view_maker
    from mmcae.apis.loading import load_model
    from mmcae.apis.patch_features import encode_images
    from mmcae.apis.projection import project_to_plane
    from mmcae.visualization import (
        Point,
        embedding_figure,
        embedding_page,
        save_figure,
    )

    loaded = load_model(
        args.checkpoint,
        config=args.config,
        device=args.device,
        with_tokenizer=False,
    )
    maker = view_maker(loaded, size_of(args), args.fit)
    paths = find_paths(*args.images)
    if args.max_images < len(paths):
        chosen = np.linspace(0, len(paths) - 1, args.max_images).astype(int)
        paths = [paths[i] for i in chosen]
    root = os.path.commonpath([os.path.dirname(path) for path in paths])
    bar = ProgressBar(len(paths), file=sys.stderr)
    skipped: list[str] = []
    encoded = [
        (str(item.source), item.view, item.pooled(args.pool))
        for item in encode_images(
            loaded, paths, maker, args.batch_size, bar.update, skipped
        )
    ]
    print(file=sys.stderr)
    features = np.array([feature for _, _, feature in encoded])
    positions = project_to_plane(features, args.method, args.seed)
    points = [
        Point(
            view,
            (x, y),
            os.path.relpath(path, root),
            os.path.relpath(os.path.dirname(path), root).strip('.'),
        )
        for (path, view, _), (x, y) in zip(encoded, positions, strict=True)
    ]
    title = f'{len(points)} images, {args.method}, {loaded.name}'
    if args.out.suffix == '.html':
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(embedding_page(points, title), encoding='utf-8')
    else:
        save_figure(embedding_figure(points, title), args.out)
    print(args.out)
    for reason in skipped:
        print(f'left out: {reason}')


if __name__ == '__main__':
    start(__doc__, add_arguments, main)
