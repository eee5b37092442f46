# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""How fast this machine can multiply and copy, through PyTorch."""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F

from mmcae.models.ops import linear as fastest_linear

from .clock import Clock

# Rows, inputs and outputs of the linear layers of a base-size step, and
# channels, side and outputs of the 3 x 3 convolutions of the tokenizer.
LINEAR = ((396, 768, 3072), (396, 3072, 768), (392, 768, 8192))
CONVOLUTION = ((64, 112, 64), (128, 56, 128), (256, 28, 256))

# Dense half-precision TFLOP/s with float32 sums, from the vendors' sheets
# (quoted, not measured).
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
    """Measure the best of several shapes and layouts.

    Returns:
        ``products`` and ``convolutions`` in FLOP/s, ``copy`` in bytes/s (read
        and written); ``products_torch``: with the library that PyTorch
        chooses, where ours may be another.
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
                call()  # warm
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
    """The least time that a step's arithmetic and AdamW can take.

    AdamW reads parameter, gradient and two moments, and writes all but the
    gradient: 28 bytes a parameter.

    Args:
        flops: ``products`` and ``convolutions`` of a step.
        num_parameters: Trained parameters.
        ceilings: See `measure_ceilings`.
    """
    return (
        flops['products'] / ceilings['products']
        + flops['convolutions'] / ceilings['convolutions']
        + 28 * num_parameters / ceilings['copy']
    )


def gpu_peak(name: str) -> float | None:
    """Half-precision FLOP/s of a known GPU, by its name."""
    for key, tera in GPU_TFLOPS.items():
        if key in name:
            return 1e12 * tera
    return None
