# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The same losses on CPU and GPU; the same bits twice."""

import torch
from speed.batches import make_batch
from speed.ours import Ours
from speed.sizes import load_size
from torch import Tensor

from mmcae.models.layers import use_kernels

from .parity import exact_float32
from .report import Report
from .settings import Settings

STEPS = 6
# AdamW divides small gradients by their size, which magnifies rounding.
CLOSE = 1e-4


def run(settings: Settings, report: Report) -> None:
    cpu, device = torch.device('cpu'), settings.torch_device
    with exact_float32():
        losses, _ = train('tiny', 'fp32', cpu)
        if settings.cuda:
            others, _ = train('tiny', 'fp32', device)
        else:  # other kernels stand in for another device
            with use_kernels(attention='explicit', activation='recompute'):
                others, _ = train('tiny', 'fp32', device)
        error = (others / losses - 1).abs().max().item()
        report.detail('losses', [losses.tolist(), others.tolist()])
        name = 'GPU' if settings.cuda else 'other kernels'
        what = f'{STEPS} steps, CPU and {name}: largest relative difference'
        report.require(what, error, most=CLOSE)
        for precision in ('fp32', *settings.half):
            _twice(settings, report, precision)


def _twice(settings: Settings, report: Report, precision: str) -> None:
    """Two runs under deterministic algorithms."""
    arch, device = settings.arch, settings.torch_device
    batch_size = settings.pick(32, 8)
    torch.use_deterministic_algorithms(True)
    try:
        runs = [train(arch, precision, device, batch_size) for _ in range(2)]
    except RuntimeError as error:
        if 'deterministic' not in str(error):
            raise
        report.detail(f'no deterministic kernel, {precision}', str(error))
        what = f'deterministic kernels for all of a step in {precision}'
        report.require(what, False)
        return
    finally:
        torch.use_deterministic_algorithms(False)
    equal = all(torch.equal(a, b) for a, b in zip(*runs, strict=True))
    what = f'two runs in {precision} have the same losses and weights, bitwise'
    report.require(what, equal)


def train(
    arch: str, precision: str, device: torch.device, batch_size: int = 8
) -> tuple[Tensor, Tensor]:
    """Train from the same weights on the same batches.

    Returns:
        The losses ``(6,)`` and all trained weights ``(N,)``, on the CPU.
    """
    torch.manual_seed(0)
    size = load_size(arch)
    # Built on the CPU, so that a seed gives the same weights everywhere.
    ours = Ours(size, precision, device)
    for group in ours.optimizer.param_groups:
        group['lr'] = 1e-4
    losses = []
    for seed in range(STEPS):
        loss = ours.loss(make_batch(size, batch_size, device, seed))
        ours.wrapper.update_params(loss)
        losses.append(loss.detach().double().cpu())
    weights = [p.detach().flatten().cpu() for p in ours.weights()]
    return torch.stack(losses), torch.cat(weights)
