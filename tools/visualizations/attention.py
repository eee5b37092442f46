# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Draw where an encoder looks.

    python tools/visualizations/attention.py CHECKPOINT IMAGE-or-FOLDER ...

Each row of the picture is one image: the image, the mean attention of all
heads, single heads, and the rollout through all blocks. The query is the class
token, or the patch of --patch ROW,COLUMN, which has a frame in the first
picture. docs/visualize.md shows good and bad examples.
"""

import argparse
import sys
from itertools import islice

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
        '--patch',
        type=parse_patch,
        metavar='ROW,COLUMN',
        help='the patch that looks, counted from 0 (default: the class token)',
    )
    parser.add_argument(
        '--block',
        type=int,
        default=-1,
        help='the block; negative ones count from the end (default: the last)',
    )
    parser.add_argument(
        '--heads',
        type=int,
        nargs='*',
        help='heads to draw (default: the first six)',
    )
    parser.add_argument(
        '--max-images',
        type=int,
        default=8,
        help='use the first images only (default: 8)',
    )
    add_out_argument(parser, 'out/attention.png')


def parse_patch(text: str) -> tuple[int, int]:
    """Read ``ROW,COLUMN``."""
    row, column = text.split(',')
    return int(row), int(column)


def main(args: argparse.Namespace) -> None:
    from mmcae.apis.attention import attention_maps
    from mmcae.apis.image_input import find_paths
    from mmcae.apis.image_views import prepare, view_maker
    from mmcae.apis.loading import load_model
    from mmcae.visualization import (
        attention_panels,
        contact_sheet,
        save_figure,
    )

    loaded = load_model(
        args.checkpoint,
        config=args.config,
        device=args.device,
        with_tokenizer=False,
    )
    maker = view_maker(loaded, size_of(args), args.fit)
    paths = find_paths(*args.images)[: args.max_images]
    rows, remaining = [], iter(paths)
    while batch := list(islice(remaining, args.batch_size)):
        views = [maker.views(maker.read(path)) for path in batch]
        found = attention_maps(loaded.backbone, prepare(loaded, views)[0])
        heads = args.heads
        if heads is None:
            heads = list(range(min(6, found.num_heads)))

        def look(head: int | None, found=found):
            if args.patch is None:
                return found.of_class_token(args.block, head)
            return found.of_patch(*args.patch, args.block, head)

        maps = {'mean of heads': look(None)}
        maps |= {f'head {head}': look(head) for head in heads}
        maps['rollout'] = found.rollout(args.patch)
        for number, (first, _) in enumerate(views):
            rows.append(
                attention_panels(
                    first / 255,
                    {title: values[number] for title, values in maps.items()},
                    args.patch,
                )
            )
        print(f'{len(rows)} of {len(paths)} images', file=sys.stderr)
    save_figure(contact_sheet(rows), args.out)
    print(args.out)


if __name__ == '__main__':
    start(__doc__, add_arguments, main)
