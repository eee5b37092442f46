# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""What the command lines of all converters have in common."""

import argparse
import sys
from pathlib import Path

from mmcae.checkpoint.printable import printable_lines


def converter_parser(description: str) -> argparse.ArgumentParser:
    """Create a parser of a source and a target."""
    parser = argparse.ArgumentParser(
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('src', type=Path, help='checkpoint to read')
    parser.add_argument(
        'dst', type=Path, help='file to write: .pth or .safetensors'
    )
    return parser


def refuse(source: Path, error: Exception) -> int:
    """Say on the console why a file is not converted; the exit status."""
    print(printable_lines(f'{source}: {error}'), file=sys.stderr)
    return 1


def parse_paths(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse the command line; leave it where the target can not be meant."""
    args = parser.parse_args()
    args.src, args.dst = args.src.expanduser(), args.dst.expanduser()
    if args.dst.suffix not in ('.pth', '.safetensors'):
        parser.error(f'{args.dst} must end in .pth or .safetensors')
    if args.src.exists() and args.dst.exists() and (
        args.src.samefile(args.dst)
    ):  # fmt: skip
        parser.error(f'{args.dst} is the source; give another name')
    return args
