# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Options that the tools share."""

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
    parser.add_argument('--arch', choices=RECIPES, default='base')
    parser.add_argument('--device', default='cpu', help='cpu or cuda')
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument(
        '--rounds', type=int, default=7, help='measured steps of each'
    )
    parser.add_argument(
        '--weights',
        help='of the tokenizer (default: random; takes as long)',
    )
    parser.add_argument(
        '--out', type=Path, default=Path('work_dirs/benchmarks')
    )
    return parser


def prepare(args: argparse.Namespace) -> torch.device:
    """Set threads and seed; returns the device."""
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    return torch.device(args.device)


def half(device: torch.device) -> str:
    """The half precision of a device: fp16 on GPUs, bf16 on CPUs."""
    return 'fp16' if device.type == 'cuda' else 'bf16'
