# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Measure how the cost of an image grows with the batch and with the image.

    python benchmarks/scaling.py
    python benchmarks/scaling.py --device cuda --batch-sizes 16 64 256

Measures whole steps with growing batches, and with growing images. Half of the
patches are visible: 98 of 14 x 14, and 392 of 28 x 28. Beside each time stands
the time that the counted FLOPs predict, relative to the first. Writes
``scaling.json``, ``scaling.md`` and ``scaling.png``.
"""

import argparse
from pathlib import Path

import torch
from speed.batches import make_batch
from speed.clock import Clock, alternate, summarize
from speed.counting import count
from speed.implementation import PRECISIONS
from speed.lineup import build_lineup
from speed.machine import describe_machine, load_average
from speed.options import make_parser, prepare
from speed.report import write_report
from speed.sizes import load_size


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__)
    sizes = [2, 4, 8, 16, 32]
    parser.add_argument(
        '--batch-sizes',
        type=int,
        nargs='+',
        default=sizes,
        help="batches of images of the recipe's size (default: 2 4 8 16 32)",
    )
    parser.add_argument(
        '--grids',
        type=int,
        nargs='+',
        default=[14, 16, 20, 24, 28],
        help='patches along a side of growing images; even numbers '
        '(default: 14 16 20 24 28)',
    )
    parser.add_argument(
        '--grid-batch',
        type=int,
        default=2,
        help='batch of growing images (default: %(default)s)',
    )
    parser.add_argument(
        '--precision',
        choices=PRECISIONS,
        default='fp32',
        help='precision of the step (default: %(default)s)',
    )
    return parser.parse_args()


def cost_of(
    args: argparse.Namespace, grid: int | None, batch_sizes: list[int]
) -> list[dict]:
    """Seconds and FLOPs per image, by implementation and batch size."""
    device = torch.device(args.device)
    size = load_size(args.arch, grid, args.weights)
    lineup = build_lineup(size, args.precision, device)
    calls, points = {}, []
    for batch_size in batch_sizes:
        batch = make_batch(size, batch_size, device)
        for name, implementation in lineup.items():

            def step(i=implementation, batch=batch) -> None:
                i.step(batch)

            point = dict(
                implementation=name,
                batch_size=batch_size,
                visible=size.grid**2 - size.num_masked,
                flops=count(step).total / batch_size,
            )
            points.append(point)
            calls[str(len(points))] = step
    times = alternate(calls, args.rounds, Clock(device))
    for point, found in zip(points, times.values(), strict=True):
        busy = summarize(found['busy'])
        point.update({k: v / point['batch_size'] for k, v in busy.items()})
        point['spread'] = busy['spread']
    return points


def predict(points: list[dict]) -> list[dict]:
    """Add ``x`` and ``predicted``: time and FLOPs relative to the first.

    Args:
        points: Points of all implementations. Each is compared with the first
            point of its own implementation.
    """
    first: dict[str, dict] = {}
    for point in points:
        start = first.setdefault(point['implementation'], point)
        point['x'] = point['min'] / start['min']
        point['predicted'] = point['flops'] / start['flops']
    return points


def make_table(points: list[dict], key: str, title: str) -> str:
    """A Markdown table: one row per point."""
    lines = [
        f'| {title} | implementation | median per image | min | x (min) '
        '| FLOPs predict |',
        '|---|---|---|---|---|---|',
    ]
    for p in points:
        lines.append(
            f'| {p[key]} | {p["implementation"]} '
            f'| {1000 * p["median"]:.1f} ms | {1000 * p["min"]:.1f} ms '
            f'| {p["x"]:.2f} | {p["predicted"]:.2f} |'
        )
    return '\n'.join(lines) + '\n'


def draw(result: dict, file: Path) -> None:
    """Plot the measured growth and the predicted one."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout='constrained')
    panels = figure.subplots(1, 2)
    for panel, (points, key, label) in zip(
        panels,
        (
            (result['batches'], 'batch_size', 'batch'),
            (result['images'], 'visible', 'visible patches'),
        ),
        strict=True,
    ):
        names = list(dict.fromkeys(p['implementation'] for p in points))
        for name in names:
            own = [p for p in points if p['implementation'] == name]
            where = [p[key] for p in own]
            panel.plot(where, [p['x'] for p in own], 'o-', label=name)
        own = [p for p in points if p['implementation'] == names[0]]
        where = [p[key] for p in own]
        expected = [p['predicted'] for p in own]
        panel.plot(where, expected, 'k--', label='FLOPs predict')
        panel.set_xlabel(label)
        panel.set_ylabel('cost per image, relative to the first')
        panel.set_ylim(bottom=0)
        panel.grid(alpha=0.3)
        panel.legend()
    figure.savefig(file, dpi=120)


def main() -> None:
    args = parse_args()
    device = prepare(args)
    load = load_average()
    batches = predict(cost_of(args, None, args.batch_sizes))
    images = []
    for grid in args.grids:
        images += cost_of(args, grid, [args.grid_batch])
    result = dict(
        arch=args.arch,
        precision=args.precision,
        machine=describe_machine(device),
        load_average=load,
        batches=batches,
        images=predict(images),
    )
    text = f'## Scaling, {args.arch}, {args.precision}\n\n'
    text += make_table(batches, 'batch_size', 'batch') + '\n'
    text += make_table(images, 'visible', 'visible') + '\n'
    args.out.mkdir(parents=True, exist_ok=True)
    draw(result, args.out / 'scaling.png')
    write_report(args.out, 'scaling', result, text)


if __name__ == '__main__':
    main()
