# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Export a trained model, and compare it with the original.

    mmcae export epoch_300.pth --to onnx --out cae.onnx
    mmcae export best.pth --to transformers --out my-classifier

The checkpoint is enough: it holds the config of its run and the names of the
classes. The exported file is loaded and run on the same images as the
original; it appears only if its outputs are equal. docs/export.md has a table
of the formats.
"""

import argparse
import sys

from mmcae.export.formats import FORMATS, PARTS, POOLS, TOLERANCES

HELP = 'write a trained model for timm, transformers, ONNX and others'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb."""
    parser.add_argument(
        'checkpoint',
        help="checkpoint with mmcae's, OpenMMLab's or the authors' names",
    )
    parser.add_argument(
        '--to',
        required=True,
        choices=list(FORMATS),
        help='; '.join(f'{k}: {v.summary}' for k, v in FORMATS.items()),
    )
    parser.add_argument('--out', required=True, help='file or folder to write')
    parser.add_argument(
        '--part',
        choices=PARTS,
        help='encoder (pooled features and patch features), classifier '
        '(logits) or dense (feature maps); default: what the model was '
        'trained as',
    )
    parser.add_argument(
        '--pool',
        choices=POOLS,
        help='features of an encoder: the mean of the normalized patch '
        'tokens, the class token, or the normalized mean, as in fine-tuning; '
        'default: mean, for timm and transformers cls, for mmpretrain '
        'normed_mean',
    )
    parser.add_argument(
        '--out-indices',
        type=int,
        nargs='+',
        metavar='BLOCK',
        help='blocks of a dense backbone, counted from 0 (default: those of '
        'the config, or four, evenly spread)',
    )
    parser.add_argument(
        '--fixed-size',
        action='store_true',
        help='export for one image size, although the format could hold a '
        'model for all',
    )
    parser.add_argument(
        '--precision',
        choices=list(TOLERANCES),
        default='float32',
        help='for ONNX: float16, or int8 weights (default: float32)',
    )
    parser.add_argument(
        '--num-heads',
        type=int,
        help='number of attention heads, where the file does not say it',
    )
    parser.add_argument(
        '--tolerance',
        type=float,
        help='largest difference of an output, divided by its largest value '
        '(default: '
        + ', '.join(f'{k} {v:g}' for k, v in TOLERANCES.items())
        + ')',
    )
    parser.add_argument(
        '--no-compare',
        action='store_true',
        help='do not run the exported file; works without the other library',
    )


def main(args: argparse.Namespace) -> int:
    """Export, and print what was written and how far it differs."""
    from mmcae.export import export

    exported = export(
        args.checkpoint,
        args.to,
        args.out,
        part=args.part,
        pool=args.pool,
        out_indices=args.out_indices,
        dynamic_size=False if args.fixed_size else None,
        precision=args.precision,
        num_heads=args.num_heads,
        tolerance=args.tolerance,
        check_outputs=not args.no_compare,
    )
    print(exported)
    return 0


if __name__ == '__main__':
    from mmcae.launch.errors import run

    own_parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_arguments(own_parser)
    status: list[int] = []
    run(lambda: status.append(main(own_parser.parse_args())))
    sys.exit(status[0])
