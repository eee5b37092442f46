# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Measure DALL-E's tokenizer alone: ours and mmpretrain's.

    python benchmarks/tokenizer.py --weights dalle_encoder.pth
    python benchmarks/tokenizer.py --device cuda --batch-size 64

Both run in float32 and in half precision, as they do in a training step:
mmpretrain's records gradients and computes the tokens of all patches, ours
those of the masked half. The column "same tokens" is the share of masked
patches that get the token of mmpretrain's tokenizer in float32. Writes
``tokenizer.json`` and ``tokenizer.md``.
"""

import argparse
import copy
from collections.abc import Callable
from typing import Any

import torch
from mmengine.registry import MODELS
from speed.batches import make_batch
from speed.clock import Clock, alternate, ratio, summarize
from speed.implementation import PRECISIONS
from speed.machine import describe_machine, load_average
from speed.options import half, make_parser, prepare
from speed.report import write_report
from speed.sizes import load_size
from torch import Tensor


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument(
        '--batch-size',
        type=int,
        default=4,
        help='images per call (default: %(default)s)',
    )
    parser.add_argument(
        '--width',
        type=int,
        default=256,
        help="the tokenizer's width; a smaller one is quicker to try "
        '(default: %(default)s)',
    )
    return parser.parse_args()


def build_calls(
    args: argparse.Namespace, device: torch.device
) -> dict[str, Callable[[], Tensor]]:
    """Calls that return the tokens of masked patches, mmpretrain's first."""
    size = load_size('base', tokenizer=args.weights)
    batch = make_batch(size, args.batch_size, device)
    images, mask = batch.token_images, batch.mask
    cfg = copy.deepcopy(size.model.target_generator)
    cfg.n_hid = args.width
    init = cfg.pop('init_cfg', None)
    ours = {}
    for precision in ('fp32', half(device)):
        tokenizer: Any = MODELS.build(
            dict(cfg, precision=precision, init_cfg=init)
        )
        if init is not None:
            tokenizer.init_weights()
        if ours:  # all have the same random weights
            first = next(iter(ours.values()))
            tokenizer.load_state_dict(first.state_dict())
        ours[f'mmcae {precision}'] = tokenizer.to(device)
    theirs: Any = MODELS.build(
        dict(type='mmpretrain.DALL-E', n_hid=args.width)
    )
    theirs.load_state_dict(ours['mmcae fp32'].state_dict())
    theirs.to(device)

    def peer(precision: str) -> Tensor:
        dtype = PRECISIONS[precision]
        with torch.autocast(device.type, dtype, enabled=dtype is not None):
            return theirs(images).argmax(dim=1).flatten(1)[mask]

    calls: dict[str, Callable[[], Tensor]] = {
        f'mmpretrain {p}': lambda p=p: peer(p) for p in ('fp32', half(device))
    }
    for name, tokenizer in ours.items():
        calls[name] = lambda t=tokenizer: t.tokenize(images, mask=mask)
    everywhere = ours['mmcae fp32']
    calls['mmcae fp32, all patches'] = lambda: everywhere.tokenize(images)[
        mask
    ]
    return calls


def make_table(rows: dict[str, dict], batch_size: int) -> str:
    """A Markdown table: one row per tokenizer."""
    lines = [
        '| tokenizer | median per image | x mmpretrain fp32 (median; min) '
        '| same tokens |',
        '|---|---|---|---|',
    ]
    for name, row in rows.items():
        ms = 1000 * row['busy']['median'] / batch_size
        faster = row['ratio']
        lines.append(
            f'| {name} | {ms:.1f} ms | {faster["median"]:.2f}; '
            f'{faster["min"]:.2f} | {row["agreement"]:.2%} |'
        )
    return '\n'.join(lines) + '\n'


def main() -> None:
    args = parse_args()
    device = prepare(args)
    load = load_average()
    calls = build_calls(args, device)
    tokens = {name: call() for name, call in calls.items()}  # warm-up
    times = alternate(calls, args.rounds, Clock(device))
    first = next(iter(calls))
    rows = {}
    for name, found in times.items():
        same = (tokens[name] == tokens[first]).float().mean().item()
        rows[name] = dict(
            busy=summarize(found['busy']),
            wall=summarize(found['wall']),
            ratio=ratio(times[first]['busy'], found['busy']),
            agreement=same,
        )
    report = dict(
        machine=describe_machine(device),
        load_average=load,
        batch_size=args.batch_size,
        weights='given' if args.weights else 'random',
        tokenizers=rows,
    )
    text = f'## Tokenizer, batch {args.batch_size}, {report["weights"]} '
    text += 'weights\n\n' + make_table(rows, args.batch_size)
    write_report(args.out, 'tokenizer', report, text)


if __name__ == '__main__':
    main()
