# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Draw what a pretrained CAE makes of images whose patches are masked.

    mmcae reconstruct CHECKPOINT IMAGE-or-FOLDER ... --mask 0.5 --seed 0 1

Each row of the picture is one image with one mask: the image, the patches
that the encoder sees, the predicted tokens drawn by the tokenizer's decoder,
the same with the visible patches pasted back, the best that the tokenizer can
draw, which tokens are right, and the alignment map: how well the predicted
latent of a masked patch agrees with the latent that the encoder computes.
docs/visualize.md shows good and bad examples.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

HELP = 'draw what a pretrained CAE predicts for masked patches'

FORMATS = ('.png', '.jpg', '.jpeg', '.webp', '.pdf', '.svg')
MASK_HELP = (
    'what to mask: a share of the patches (0.5), a box in pixels of the image '
    '(LEFT,TOP,RIGHT,BOTTOM), or a painted picture of the size of the image '
    '(mask.png, white is masked). Several masks give several rows for each '
    'image (default: 0.5)'
)


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which model to load, and how to prepare images.

    Args:
        parser: The parser. The tools that draw share these options.
    """
    parser.add_argument(
        'checkpoint',
        help='checkpoint in any format that mmcae reads; it brings its '
        "config. 'random' draws new weights, with --config",
    )
    parser.add_argument(
        '--config',
        help='config of a checkpoint that has none: a path, or the name of a '
        'packaged config',
    )
    parser.add_argument(
        '--size',
        type=int,
        nargs='+',
        metavar='PIXELS',
        help='another size of the input, one number or height and width '
        '(default: that of training)',
    )
    parser.add_argument(
        '--fit',
        choices=['crop', 'stretch'],
        help="'crop' takes the center of the image, 'stretch' the whole image "
        '(default: what training did)',
    )
    parser.add_argument('--device', default='cpu', help='default: cpu')
    parser.add_argument(
        '--batch-size',
        type=int,
        default=16,
        help='images at a time (default: 16)',
    )


def add_out_argument(
    parser: argparse.ArgumentParser,
    default: str,
    formats: Sequence[str] = FORMATS,
) -> None:
    """Add the option that says where the picture goes.

    Args:
        parser: The parser.
        default: Where it goes by default.
        formats: The endings that the tool can write.
    """

    def path(text: str) -> Path:
        if Path(text).suffix.lower() not in formats:
            raise argparse.ArgumentTypeError(
                f'{text} must end in {", ".join(formats)}'
            )
        return Path(text)

    parser.add_argument(
        '--out',
        type=path,
        default=Path(default),
        help='the picture to write; its ending says the format (default: '
        '%(default)s)',
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb."""
    add_model_arguments(parser)
    parser.add_argument(
        'images', nargs='+', help='image files, or folders of images'
    )
    parser.add_argument('--mask', nargs='+', default=['0.5'], help=MASK_HELP)
    parser.add_argument(
        '--mask-kind',
        choices=['block', 'random'],
        default='block',
        help="how a share of the patches is drawn: in blocks, as in CAE's "
        'training, or each patch by itself (default: block)',
    )
    parser.add_argument(
        '--seed',
        type=int,
        nargs='+',
        default=[0],
        help='seeds of the masks that are drawn; several seeds give several '
        'rows for each image (default: 0)',
    )
    parser.add_argument(
        '--tokenizer',
        help="file of the tokenizer's weights (default: the one that the "
        'config names, also in a work dir that was moved)',
    )
    parser.add_argument(
        '--decoder', help="file of the weights of DALL-E's decoder"
    )
    parser.add_argument(
        '--rows',
        type=int,
        default=12,
        help='rows of one picture; more rows make more pictures (default: 12)',
    )
    parser.add_argument(
        '--max-images',
        type=int,
        default=48,
        help='use the first images only (default: 48)',
    )
    add_out_argument(parser, 'out/reconstruction.png')


def parse_mask(text: str) -> float | list[float] | str:
    """Read a mask from the command line.

    Args:
        text: A ratio, four numbers with commas, or the path of a picture.

    Returns:
        What `mmcae.apis.reconstruct` takes as a mask.
    """
    try:
        numbers = [float(part) for part in text.split(',')]
    except ValueError:
        return text
    return numbers[0] if len(numbers) == 1 else numbers


def size_of(args: argparse.Namespace) -> list[int] | int | None:
    """The option ``--size`` as the functions of `mmcae.apis` take it."""
    if args.size and len(args.size) == 1:
        return args.size[0]
    return args.size


def page_path(out: Path, number: int) -> Path:
    """Path of a page: the first one has the given name."""
    return out if number == 0 else out.with_stem(f'{out.stem}_{number + 1}')


def main(args: argparse.Namespace) -> None:
    """Reconstruct the images and write the pictures.

    Raises:
        ValueError: If an option has no meaning, or no image can be read.
    """
    import sys

    from mmengine.utils import ProgressBar

    from mmcae.apis import load_model, reconstruct_many
    from mmcae.apis.image_input import find_paths
    from mmcae.visualization import contact_sheet, save_figure

    if args.rows < 1 or args.batch_size < 1 or args.max_images < 1:
        raise ValueError('--rows, --batch-size and --max-images are 1 or more')
    masks = [parse_mask(text) for text in args.mask]
    found = find_paths(*args.images)
    paths = found[: args.max_images]
    model = load_model(
        args.checkpoint,
        config=args.config,
        tokenizer=args.tokenizer,
        decoder=args.decoder,
        device=args.device,
    )
    per_image = sum(
        len(args.seed) if isinstance(mask, float) else 1 for mask in masks
    )
    bar = ProgressBar(len(paths) * per_image, file=sys.stderr)
    skipped: list[str] = []
    results = list(
        reconstruct_many(
            model,
            paths,
            masks,
            args.seed,
            kind=args.mask_kind,
            size=size_of(args),
            fit=args.fit,
            batch_size=args.batch_size,
            progress=bar.update,
            skipped=skipped,
        )
    )
    print(file=sys.stderr)
    if not results:
        raise ValueError(f'no image can be read: {skipped[0]}')
    pages = [
        results[start : start + args.rows]
        for start in range(0, len(results), args.rows)
    ]
    for number, page in enumerate(pages):
        figure = contact_sheet(
            [result.panels() for result in page],
            [result.caption() for result in page],
            notes=model.notes,
        )
        path = page_path(args.out, number)
        save_figure(figure, path)
        print(path)
    _print_means(results)
    if len(found) > len(paths):
        print(f'the first {len(paths)} of {len(found)} images (--max-images)')
    for reason in skipped:
        print(f'left out: {reason}')
    for note in model.notes:
        print(f'note: {note}')


def _print_means(results: list) -> None:
    """Print the means over all rows."""
    count = len(results)
    words = [f'{count} reconstruction{"s" if count != 1 else ""}']
    right = [r.token_accuracy for r in results if r.token_accuracy is not None]
    if right:
        words.append(f'token accuracy {sum(right) / len(right):.3f}')
    cosine = sum(r.alignment_mean for r in results) / count
    words.append(f'alignment {cosine:.3f}')
    others = sum(r.alignment_others for r in results) / count
    if others == others:  # it is NaN where one patch is masked
        words.append(f'with other patches {others:.3f}')
    print(', '.join(words))
