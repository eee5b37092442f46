# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Measure what attention in windows saves on a large image: bytes and time.

    python benchmarks/windows.py
    python benchmarks/windows.py --encoder --precision bf16

Compares a block with global attention and a block with attention in windows:
with PyTorch's fused kernel (``fused``) and with plain matrix products
(``explicit``), without and with relative position bias. Measures the bytes
that a forward pass keeps for the backward pass, the peak of the bytes in both
passes, and the processor time. ``--encoder`` adds whole encoders with fused
attention and activation checkpointing, as in the configs for detection. Writes
``windows.json`` and ``windows.md``.
"""

import argparse
from collections.abc import Callable

import torch
from mmengine.registry import MODELS
from speed.activations import saved_bytes
from speed.clock import Clock, alternate, summarize
from speed.implementation import PRECISIONS
from speed.live import peak_live_bytes
from speed.machine import describe_machine, load_average
from speed.options import make_parser, prepare
from speed.report import write_report
from speed.sizes import load_size
from torch import Tensor, nn

from mmcae.models.layers import EncoderBlock
from mmcae.models.ops import use_kernels

PATCH = 16


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.set_defaults(rounds=3)
    parser.add_argument(
        '--size',
        type=int,
        nargs=2,
        default=[800, 1333],
        metavar=('HEIGHT', 'WIDTH'),
        help='size of the image in pixels, which is padded to whole patches '
        '(default: 800 1333)',
    )
    parser.add_argument(
        '--window',
        type=int,
        default=14,
        help='side of a window in patches (default: %(default)s)',
    )
    parser.add_argument(
        '--precision',
        choices=PRECISIONS,
        default='fp32',
        help='precision of the pass (default: %(default)s)',
    )
    parser.add_argument(
        '--encoder', action='store_true', help='measure whole encoders too'
    )
    return parser.parse_args()


def make_step(
    module: nn.Module, x: Tensor, precision: str, *more: object
) -> tuple[Callable[[], Tensor], Callable[[], None]]:
    """Make two functions: a forward pass, and a forward and backward pass.

    Args:
        module: Called with ``x`` and ``more``; returns one tensor or several.
        x: Input, which gets a gradient too.
        precision: See `PRECISIONS`.
        more: Further arguments of the module.
    """
    dtype = PRECISIONS[precision]

    def forward() -> Tensor:
        with torch.autocast(x.device.type, dtype, enabled=dtype is not None):
            outs = module(x, *more)
        outs = outs if isinstance(outs, tuple) else (outs,)
        return torch.stack([out.sum() for out in outs]).sum()

    def step() -> None:
        x.grad = None
        module.zero_grad(set_to_none=True)
        forward().backward()

    return forward, step


def measure(
    module: nn.Module, x: Tensor, precision: str, *more: object
) -> tuple[dict[str, int], Callable[[], None]]:
    """Measure the bytes of a module with its input, without its weights.

    Returns:
        Bytes ``kept`` for the backward pass and the ``peak`` of both passes;
        and the function that runs both passes.
    """
    forward, step = make_step(module, x, precision, *more)
    there = [*module.parameters(), *module.buffers()]
    kept = saved_bytes(forward, there)
    peak = peak_live_bytes(step, [*there, x]) + x.nbytes
    return dict(kept=kept, peak=peak), step


def measure_blocks(
    arch: dict[str, int], args: argparse.Namespace, rel_pos: bool
) -> dict[str, dict]:
    """Measure a block with global attention, and one with windows."""
    grid = tuple(-(-side // PATCH) for side in args.size)
    x = torch.randn(1, 1 + grid[0] * grid[1], arch['embed_dims'])
    x = x.to(args.device).requires_grad_()
    windows = dict(everywhere=None, windows=(args.window, args.window))
    found, steps = {}, {}
    for name, window in windows.items():
        block = EncoderBlock(
            arch['embed_dims'],
            arch['num_heads'],
            arch['feedforward_channels'],
            window_size=(window or grid) if rel_pos else None,
            attn_window=window,
        ).to(args.device)
        more = (None, grid)
        found[name], steps[name] = measure(block, x, args.precision, *more)
    return time_steps(found, steps, args)


def measure_encoders(
    arch: dict[str, int], args: argparse.Namespace
) -> dict[str, dict]:
    """Measure encoders with windows in no, in all but four, in all blocks.

    The kept bytes are not counted: activation checkpointing keeps the inputs
    of the blocks where `saved_bytes` does not see them.
    """
    windows: dict[str, dict] = {
        'everywhere': {},
        'windows but in four': dict(window_size=args.window),
        'windows': dict(window_size=args.window, global_indices=()),
    }
    found = {}
    for name, options in windows.items():
        encoder = MODELS.build(
            dict(
                type='mmcae.CAEViT',
                arch=arch,
                img_size=[-(-side // PATCH) * PATCH for side in args.size],
                out_type='featmap',
                use_rel_pos_bias=False,
                with_cp=True,
                **options,
            )
        ).to(args.device)
        x = torch.randn(1, 3, *args.size, device=args.device)
        _, step = make_step(encoder, x, args.precision)
        there = [*encoder.parameters(), *encoder.buffers(), x]
        row: dict = {}

        def step_watched(step=step, there=there, row=row) -> None:
            row['peak'] = peak_live_bytes(step, there)

        clock = Clock(torch.device(args.device))
        times = alternate({name: step_watched}, 1, clock)
        row['seconds'] = summarize(times[name]['busy'])
        found[name] = row
    return found


def time_steps(
    found: dict[str, dict], steps: dict, args: argparse.Namespace
) -> dict[str, dict]:
    """Time the steps, and add ``seconds`` to what was found."""
    times = alternate(steps, args.rounds, Clock(torch.device(args.device)))
    for name, row in found.items():
        row['seconds'] = summarize(times[name]['busy'])
    return found


def windows_table(rows: list[dict]) -> str:
    """A Markdown table: one row per measured block or encoder."""
    lines = [
        '| what | attention | relative bias | attends | kept for backward '
        '| peak | time |',
        '|---' * 7 + '|',
    ]
    for row in rows:
        for name, cells in row['found'].items():
            kept = f'{cells["kept"] / 1e6:.0f} MB' if 'kept' in cells else '-'
            lines.append(
                f'| {row["what"]} | {row["attention"]} '
                f'| {"yes" if row["rel_pos"] else "no"} | {name} '
                f'| {kept} | {cells["peak"] / 1e6:.0f} MB '
                f'| {cells["seconds"]["median"]:.1f} s |'
            )
    return '\n'.join(lines) + '\n'


def main() -> None:
    args = parse_args()
    device = prepare(args)
    load = load_average()
    arch = load_size(args.arch).arch
    rows = []
    for attention in ('fused', 'explicit'):
        for rel_pos in (False, True):
            setting = dict(attention=attention, rel_pos=rel_pos)
            with use_kernels(attention=attention):
                found = measure_blocks(arch, args, rel_pos)
            rows.append(dict(what='block', **setting, found=found))
    if args.encoder:
        # As in detection: without relative position bias, and with the fused
        # kernel, which long sequences use.
        setting = dict(attention='fused', rel_pos=False)
        with use_kernels(attention='fused'):
            found = measure_encoders(arch, args)
        rows.append(dict(what='encoder', **setting, found=found))
    result = dict(
        arch=args.arch,
        size=args.size,
        window=args.window,
        precision=args.precision,
        machine=describe_machine(device),
        load_average=load,
        rows=rows,
    )
    height, width = args.size
    text = f'## {args.arch}, {height} x {width}, {args.precision}\n\n'
    text += f'Windows of {args.window} x {args.window} patches.\n\n'
    write_report(args.out, 'windows', result, text + windows_table(rows))


if __name__ == '__main__':
    main()
