# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Measure how fast this machine multiplies and copies through PyTorch."""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F

from mmcae.models.ops import linear as fastest_linear

from .clock import Clock

# Rows, inputs and outputs of linear layers in a step at base size.
LINEAR = ((396, 768, 3072), (396, 3072, 768), (392, 768, 8192))
# Channels, side and output channels of 3 x 3 convolutions in the tokenizer.
CONVOLUTION = ((64, 112, 64), (128, 56, 128), (256, 28, 256))

# TFLOP/s of dense products in half precision with float32 sums, quoted from
# the vendors' data sheets (not measured).
GPU_TFLOPS = {
    'V100': 125.0,
    'T4': 65.0,
    'A10G': 70.0,
    'A100': 312.0,
    'RTX 3090': 71.0,
    'RTX 4090': 165.2,
    'L4': 121.0,
    'L40S': 362.0,
    'H100': 989.4,
    'H200': 989.4,
}


def measure_ceilings(
    dtype: torch.dtype,
    device: torch.device,
    rounds: int = 5,
    linear: tuple = LINEAR,
    convolution: tuple = CONVOLUTION,
) -> dict[str, float]:
    """Measure the highest speed over several shapes and layouts.

    Args:
        dtype: Type of the products' and convolutions' operands.
        device: Where they are computed.
        rounds: Number of measurements of each shape; the fastest counts.
        linear: Shapes of products, see `LINEAR`.
        convolution: Shapes of convolutions, see `CONVOLUTION`.

    Returns:
        ``products`` and ``convolutions`` in FLOP/s, and ``copy`` in bytes/s,
        where bytes read and bytes written both count. ``products_torch`` is
        the speed of products with the library that PyTorch chooses; mmcae may
        choose another.
    """
    clock = Clock(device)
    calls: dict[str, list[tuple[float, Callable]]] = dict(
        products_torch=[], products=[], convolutions=[], copy=[]
    )
    for rows, inputs, outputs in linear:
        x = torch.randn(rows, inputs, device=device, dtype=dtype)
        w = torch.randn(outputs, inputs, device=device, dtype=dtype)
        work = 2.0 * rows * inputs * outputs
        for kind, product in (
            ('products_torch', F.linear),
            ('products', fastest_linear),
        ):
            calls[kind].append((work, lambda x=x, w=w, f=product: f(x, w)))
    for inputs, side, outputs in convolution:
        x = torch.randn(4, inputs, side, side, device=device, dtype=dtype)
        w = torch.randn(outputs, inputs, 3, 3, device=device, dtype=dtype)
        work = 2.0 * 4 * side**2 * inputs * outputs * 9
        for layout in (torch.contiguous_format, torch.channels_last):
            a, b = (t.contiguous(memory_format=layout) for t in (x, w))
            calls['convolutions'].append(
                (work, lambda a=a, b=b: F.conv2d(a, b, padding=1))
            )
    source = torch.randn(2**24, device=device)
    target = torch.empty_like(source)
    calls['copy'].append((8.0 * 2**24, lambda: target.copy_(source)))
    best = {}
    with torch.no_grad():
        for kind, entries in calls.items():
            speeds = []
            for work, call in entries:
                call()  # to warm up
                speeds.append(
                    work / min(clock(call)[0] for _ in range(rounds))
                )
            best[kind] = max(speeds)
    best['products'] = max(best['products'], best['products_torch'])
    return best


def floor_seconds(
    flops: Mapping[str, float],
    num_parameters: int,
    ceilings: Mapping[str, float],
) -> float:
    """The shortest time that the arithmetic of a step and AdamW can take.

    AdamW reads the parameter, the gradient and two moments, and writes all of
    these but the gradient: 28 bytes per parameter.

    Args:
        flops: FLOPs of a step: ``products`` and ``convolutions``.
        num_parameters: Number of trained parameters.
        ceilings: See `measure_ceilings`.
    """
    return (
        flops['products'] / ceilings['products']
        + flops['convolutions'] / ceilings['convolutions']
        + 28 * num_parameters / ceilings['copy']
    )


def gpu_peak(name: str) -> float | None:
    """FLOP/s of a GPU in half precision; ``None`` if it is not listed."""
    for key, tera in GPU_TFLOPS.items():
        if key in name:
            return 1e12 * tera
    return None
