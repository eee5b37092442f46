# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Find the images of a folder that are most similar to given images.

    python tools/visualizations/neighbors.py CHECKPOINT IMAGE ... --folder DIR

Similar means: a high cosine of the features, which stands above each neighbor.
A query that lies in the folder is not its own neighbor. docs/visualize.md
shows good and bad examples.
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
    parser.add_argument('images', nargs='+', help='images to look for')
    parser.add_argument(
        '--folder', required=True, help='folder of images to search in'
    )
    parser.add_argument(
        '--count', type=int, default=8, help='neighbors (default: 8)'
    )
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
        default=8,
        help='use the first queries only (default: 8)',
    )
    add_out_argument(parser, 'out/neighbors.png')


def main(args: argparse.Namespace) -> None:
    import numpy as np
    from mmengine.utils import ProgressBar

    from mmcae.apis.image_input import find_paths
    from mmcae.apis.image_views import view_maker
    from mmcae.apis.loading import load_model
    from mmcae.apis.neighbors import nearest_images
    from mmcae.apis.patch_features import encode_images
    from mmcae.visualization import neighbor_sheet, save_figure

    loaded = load_model(
        args.checkpoint,
        config=args.config,
        device=args.device,
        with_tokenizer=False,
    )
    maker = view_maker(loaded, size_of(args), args.fit)
    queries = find_paths(*args.images)[: args.max_images]
    paths = find_paths(args.folder)
    bar = ProgressBar(len(queries) + len(paths), file=sys.stderr)
    skipped: list[str] = []
    # Views are small, so all of them fit into memory.
    encoded = [
        (str(item.source), item.view, item.pooled(args.pool))
        for item in encode_images(
            loaded,
            [*queries, *paths],
            maker,
            args.batch_size,
            bar.update,
            skipped,
        )
    ]
    print(file=sys.stderr)
    unreadable = len([p for p in queries if p not in {e[0] for e in encoded}])
    if unreadable:
        raise ValueError(f'the image cannot be read: {skipped[0]}')
    asked, pool = encoded[: len(queries)], encoded[len(queries) :]
    order, cosines = nearest_images(
        np.stack([e[2] for e in asked]),
        np.stack([e[2] for e in pool]),
        args.count + 1,
    )
    rows = []
    for number, (path, view, _) in enumerate(asked):
        found = [
            (pool[i], cosine)
            for i, cosine in zip(order[number], cosines[number], strict=True)
            if not os.path.samefile(pool[i][0], path)
        ][: args.count]
        rows.append((view, [(entry[1], cosine) for entry, cosine in found]))
        names = ', '.join(os.path.relpath(e[0], args.folder) for e, _ in found)
        print(f'{path}: {names}')
    save_figure(neighbor_sheet(rows), args.out)
    print(args.out)
    for reason in skipped:
        print(f'left out: {reason}')


if __name__ == '__main__':
    start(__doc__, add_arguments, main)
