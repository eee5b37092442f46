# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The command line that all converters share, and how they report errors."""

import argparse
import sys
from pathlib import Path

from mmcae.checkpoint.printable import printable_lines


def converter_parser(
    description: str, src_help: str = 'checkpoint to read'
) -> argparse.ArgumentParser:
    """Create a parser with a source and a target.

    Args:
        description: Text of ``--help``, usually the docstring of the script.
        src_help: Text of ``--help`` for the source.
    """
    parser = argparse.ArgumentParser(
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('src', type=Path, help=src_help)
    parser.add_argument(
        'dst', type=Path, help='file to write: .pth or .safetensors'
    )
    return parser


def add_encoder_arguments(
    parser: argparse.ArgumentParser, pools: tuple[str, str]
) -> None:
    """Add the options of the converters to other libraries.

    Args:
        parser: The parser to extend.
        pools: ``'avg'`` and ``'token'``; the first one is the default.
    """
    parser.add_argument(
        '--pool',
        choices=pools,
        default=pools[0],
        help="output of an encoder: 'token' is the normalized class token, "
        "'avg' the normalized mean of the patch tokens, as in fine-tuning "
        '(default: %(default)s)',
    )
    parser.add_argument(
        '--num-heads',
        type=int,
        help='number of attention heads; needed for widths that the authors '
        'do not use',
    )


def parse_paths(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse the command line; exit with an error if the target is wrong."""
    args = parser.parse_args()
    args.src, args.dst = args.src.expanduser(), args.dst.expanduser()
    if args.dst.suffix.lower() not in ('.pth', '.safetensors'):
        parser.error(f'{args.dst} must end in .pth or .safetensors')
    both_exist = args.src.exists() and args.dst.exists()
    if both_exist and args.src.samefile(args.dst):
        parser.error(f'{args.dst} is the source; give another name')
    return args


def refuse(source: Path, error: Exception) -> int:
    """Print why a file is not converted, and return the exit status 1."""
    message = str(error)
    if str(source) not in message:
        message = f'{source}: {message}'
    print(printable_lines(message), file=sys.stderr)
    return 1
