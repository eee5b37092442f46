# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Command-line options that all tools have."""

import argparse
from pathlib import Path

import torch

from .sizes import RECIPES


def make_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser with the common options."""
    parser = argparse.ArgumentParser(
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--arch',
        choices=RECIPES,
        default='base',
        help='size of the model (default: %(default)s)',
    )
    parser.add_argument(
        '--device', default='cpu', help='cpu or cuda (default: %(default)s)'
    )
    parser.add_argument(
        '--threads',
        type=int,
        default=1,
        help='threads of a CPU (default: %(default)s)',
    )
    parser.add_argument(
        '--rounds',
        type=int,
        default=7,
        help='number of measured steps (default: %(default)s)',
    )
    parser.add_argument(
        '--weights',
        help='checkpoint of the tokenizer (default: random weights, which '
        'take the same time)',
    )
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('work_dirs/benchmarks'),
        help='folder for the results (default: %(default)s)',
    )
    return parser


def prepare(args: argparse.Namespace) -> torch.device:
    """Set the number of threads and the seed; returns the device."""
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    return torch.device(args.device)


def half(device: torch.device) -> str:
    """The usual half precision of a device: fp16 on GPUs, bf16 on CPUs."""
    return 'fp16' if device.type == 'cuda' else 'bf16'
