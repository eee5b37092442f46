# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Measure a training step of CAE: ours, mmpretrain's, and the authors'.

    python benchmarks/step.py
    python benchmarks/step.py --device cuda --batch-sizes 64 256
    python benchmarks/step.py --tokens stored
    python benchmarks/step.py --official ~/CAE    # a clone of lxtGH/CAE

All implementations get the same batch, masks and initial weights. A step has
AdamW, clipping and the upkeep that the implementation needs. They run in one
process, in turn (A B A B). Writes ``step.json`` and ``step.md``.

The columns named x say how many times as long as ours a step takes: the first
is the median of the rounds' ratios, the second compares the fastest steps.
"""

import argparse
import gc
import subprocess
import sys
from pathlib import Path

import torch
from speed.activations import saved_bytes
from speed.batches import Batch, make_batch
from speed.breakdown import parts_table, time_parts
from speed.cards import cards_table, fixed_bytes
from speed.ceilings import floor_seconds, gpu_peak, measure_ceilings
from speed.clock import Clock, alternate, ratio, summarize
from speed.counting import count
from speed.implementation import PRECISIONS, Implementation
from speed.lineup import build_lineup
from speed.live import peak_live_bytes
from speed.machine import describe_machine, load_average, peak_memory
from speed.options import half, make_parser, prepare
from speed.report import memory_table, steps_table, write_report
from speed.sizes import Size, load_size

from mmcae.models.layers import use_kernels


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument(
        '--batch-sizes',
        type=int,
        nargs='+',
        default=[4],
        help='images in a step (default: 4)',
    )
    parser.add_argument(
        '--precisions',
        choices=PRECISIONS,
        nargs='+',
        help='default: fp32, and bf16 on CPUs or fp16 on GPUs',
    )
    parser.add_argument(
        '--tokens',
        choices=('computed', 'stored'),
        default='computed',
        help='stored: samples have tokens, as those of a token store do '
        '(default: %(default)s)',
    )
    parser.add_argument(
        '--tokenizer-precision',
        choices=PRECISIONS,
        help="precision of our DALL-E tokenizer (default: the step's, as in "
        'mmpretrain; the recipes use fp16 on GPUs and fp32 on CPUs)',
    )
    parser.add_argument(
        '--with-cp',
        action='store_true',
        help='add ours with activation checkpointing',
    )
    parser.add_argument(
        '--official',
        type=Path,
        help="clone of the authors' repository lxtGH/CAE, to measure it too; "
        'what it imports and a step does not use need not be installed',
    )
    parser.add_argument(
        '--no-parts', action='store_true', help='do not time the components'
    )
    parser.add_argument(
        '--no-peaks',
        action='store_true',
        help='do not measure the peak memory of each implementation, for '
        'which it runs in another process',
    )
    parser.add_argument(
        '--peak-tflops',
        type=float,
        help='TFLOP/s of the GPU, for MFU (default: from a list of GPUs)',
    )
    parser.add_argument('--peak-of', help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.precisions is None:
        args.precisions = ['fp32', half(torch.device(args.device))]
    return args


def lineup_of(
    args: argparse.Namespace,
    size: Size,
    precision: str,
    device: torch.device,
    only: str | None = None,
) -> dict[str, Implementation]:
    """Build the implementations that the options ask for."""
    if 'DALLEEncoder' in size.model.target_generator.type:
        size.model.target_generator.precision = (
            args.tokenizer_precision or precision
        )
    return build_lineup(
        size,
        precision,
        device,
        stored=args.tokens == 'stored',
        with_cp=args.with_cp,
        official=args.official,
        only=only,
    )


def time_steps(
    lineup: dict[str, Implementation],
    batch: Batch,
    args: argparse.Namespace,
    ceilings: dict[str, float],
) -> dict[str, dict]:
    """Warm up, count the operations of a step of each, time the rounds."""
    for implementation in lineup.values():
        implementation.step(batch)  # the first step has extra work
    counters = {
        name: count(lambda i=i: i.step(batch)) for name, i in lineup.items()
    }
    gc.collect()
    clock = Clock(next(iter(lineup.values())).device)
    steps = {name: lambda i=i: i.step(batch) for name, i in lineup.items()}
    times = alternate(steps, args.rounds, clock)
    ours = next(iter(lineup))
    trained = sum(p.numel() for p in lineup[ours].trained())
    flops = counters[ours].flops
    floor = floor_seconds(flops, trained, ceilings)
    by_torch = ceilings | {'products': ceilings['products_torch']}
    floor_torch = floor_seconds(flops, trained, by_torch)
    result = {}
    for name, found in times.items():
        busy = summarize(found['busy'])
        result[name] = dict(
            busy=busy,
            wall=summarize(found['wall']),
            ratio=ratio(found['busy'], times[ours]['busy']),
            rounds=found,
            flops=counters[name].flops,
            operations=sum(counters[name].ops.values()),
            floor_share=floor / busy['median'],
            floor_share_torch=floor_torch / busy['median'],
        )
    return result


def measure_memory(
    lineup: dict[str, Implementation], size: Size
) -> dict[str, dict[str, float]]:
    """Measure the bytes of a forward pass, with batches of 1 and 2 images.

    Returns:
        By implementation: ``per_image``, the bytes that one image adds to
        what is kept for the backward pass; ``live``, the bytes that it adds
        to the peak of the forward pass, tensors of short life included; and
        ``fixed``, the bytes that training needs at any batch size. (The peak
        of the forward pass stands for that of the step: in the backward pass,
        activations are freed before all gradients are there.)
    """
    memory = {}
    for name, implementation in lineup.items():
        kept, live = [], []
        model = implementation.model
        for batch_size in (1, 2):
            batch = make_batch(size, batch_size, implementation.device)

            def loss(i=implementation, batch=batch) -> torch.Tensor:
                return i.loss(batch)

            kept.append(saved_bytes(loss, implementation.weights()))
            live.append(peak_live_bytes(loss, model.parameters()))
        per_image = kept[1] - kept[0]
        trained = sum(p.numel() for p in implementation.trained())
        every = sum(p.numel() for p in model.parameters())
        copies = kept[0] - per_image  # weights in half precision
        memory[name] = dict(
            per_image=per_image,
            # In small models, tensors that do not grow can hide the growth.
            live=max(live[1] - live[0], per_image),
            fixed=fixed_bytes(trained, every - trained, copies),
        )
    return memory


def print_peak(args: argparse.Namespace, size: Size) -> None:
    """Run two steps of one implementation, and print the peak memory.

    `peak_of` runs this in another process.
    """
    device = prepare(args)
    only, precision = args.peak_of, args.precisions[0]
    lineup = lineup_of(args, size, precision, device, only)
    batch = make_batch(size, args.batch_sizes[0], device)
    gc.collect()
    if device.type == 'cuda':
        torch.cuda.reset_peak_memory_stats()
    for _ in range(2):
        lineup[only].step(batch)
    print(f'peak {peak_memory(device)}')


def peak_of(name: str, precision: str, batch_size: int) -> int:
    """Run this tool for one implementation; returns its peak in bytes.

    In this process, memory of the other implementations would count too.
    """
    command = [sys.executable, *sys.argv, '--peak-of', name]
    command += ['--precisions', precision, '--batch-sizes', str(batch_size)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(done.stdout.split('peak ')[1].split()[0])


def measure(
    args: argparse.Namespace, size: Size, precision: str, batch_size: int
) -> tuple[dict, str]:
    """Measure one precision and batch size; returns result and tables."""
    device = torch.device(args.device)
    dtype = PRECISIONS[precision] or torch.float32
    ceilings = measure_ceilings(dtype, device)
    lineup = lineup_of(args, size, precision, device)
    batch = make_batch(size, batch_size, device)
    steps = time_steps(lineup, batch, args, ceilings)
    result: dict = dict(
        precision=precision,
        batch_size=batch_size,
        ceilings=ceilings,
        steps=steps,
        memory=measure_memory(lineup, size),
    )
    if precision != 'fp32':
        with use_kernels(linear='torch', attention='fused'):
            result['memory_on_gpus'] = measure_memory(lineup, size)
    ours = next(iter(steps.values()))
    giga = sum(ours['flops'].values()) / batch_size / 1e9
    text = f'## {args.arch}, {precision}, batch {batch_size}\n\n'
    text += steps_table(steps, batch_size) + '\n'
    text += (
        f'{giga:.1f} GFLOP per image (ours). Measured ceilings: products '
        f'{ceilings["products"] / 1e9:.0f}, convolutions '
        f'{ceilings["convolutions"] / 1e9:.0f} GFLOP/s, copy '
        f'{ceilings["copy"] / 1e9:.1f} GB/s. With the library that PyTorch '
        'chooses, products reach '
        f'{ceilings["products_torch"] / 1e9:.0f} GFLOP/s; of the floor with '
        f'that speed, ours is at {ours["floor_share_torch"]:.0%}.\n\n'
    )
    if device.type == 'cuda' and precision != 'fp32':
        peak = gpu_peak(torch.cuda.get_device_name(device))
        peak = 1e12 * args.peak_tflops if args.peak_tflops else peak
        if peak:
            used = giga * 1e9 * batch_size / ours['busy']['median'] / peak
            result['mfu'] = used
            text += f"Share of the GPU's peak (MFU, ours): {used:.0%}.\n\n"
    if not args.no_parts:
        rounds = max(2, args.rounds // 2)
        parts = time_parts(lineup, batch, rounds, Clock(device))
        result['parts'] = parts
        text += 'Milliseconds, forward / backward:\n\n'
        text += parts_table(parts) + '\n'
    del lineup
    gc.collect()  # the next models need the memory of these
    if not args.no_peaks:
        for name, row in result['memory'].items():
            row['peak'] = peak_of(name, precision, batch_size)
    text += memory_table(result['memory']) + '\n'
    if precision != 'fp32':
        text += 'Estimate of the largest batch on a GPU, from the bytes that '
        text += 'its kernels keep:\n\n'
        text += cards_table(result['memory_on_gpus']) + '\n'
    return result, text


def main() -> None:
    args = parse_args()
    size = load_size(args.arch, tokenizer=args.weights)
    if args.peak_of:
        print_peak(args, size)
        return
    device = prepare(args)
    load = load_average()
    runs, texts = [], []
    for precision in args.precisions:
        for batch_size in args.batch_sizes:
            result, text = measure(args, size, precision, batch_size)
            runs.append(result)
            texts.append(text)
    name = 'step' if args.tokens == 'computed' else 'step_stored'
    report = dict(
        arch=args.arch,
        threads=args.threads,
        tokens=args.tokens,
        tokenizer_precision=args.tokenizer_precision or 'as the step',
        machine=describe_machine(device),
        load_average=load,
        runs=runs,
    )
    write_report(args.out, name, report, '\n'.join(texts))


if __name__ == '__main__':
    main()
