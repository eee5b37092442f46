# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Time of a step, images/s and MFU, beside the other implementations."""

import gc
import statistics
from typing import Any

import torch
from speed.batches import Batch, make_batch
from speed.ceilings import gpu_peak
from speed.clock import Clock
from speed.counting import count
from speed.implementation import Implementation
from speed.lineup import build_lineup

from .models import Trained, out_of_memory, size_of
from .profiling import profile_steps
from .report import Report
from .settings import Settings

OURS, STORED = 'mmcae', 'mmcae, stored tokens'
COMPILED = ', compiled'
# The batch of the recipe: there, too, ours is compiled. To compile takes a
# minute for each batch size.
MAIN_BATCH = 256
GOALS = dict(mfu=0.35, images=3100.0, compiled=1.5, mmpretrain=2.0)


def run(settings: Settings, report: Report) -> None:
    device = settings.torch_device
    precision = settings.half[0]
    size = size_of(settings, precision)
    lineup: dict[str, Implementation] = {
        OURS: Trained(size, precision, device),
        STORED: Trained(size, precision, device, stored=True),
    }
    for name in (OURS, STORED):
        lineup[name].start_from(lineup[OURS].model)  # type: ignore[attr-defined]
    others = build_lineup(size, precision, device, official=settings.official)
    others.pop(OURS)
    lineup.update(others)
    main = settings.pick(MAIN_BATCH, 4)
    batches = (main, 64, 128, 512) if settings.cuda else (main, 8)
    peak = None
    if settings.cuda:
        peak = gpu_peak(torch.cuda.get_device_name(device))
        if peak is None:
            report.skip('MFU', "the vendor's number of this card is unknown")
    for batch_size in batches:
        batch = make_batch(size, batch_size, device)
        everything = dict(lineup)
        if batch_size == main:
            _goals_met(settings, report, everything, batch, size, peak)
        else:
            times = time_lineup(everything, batch, settings)
            _rows(report, times, batch_size, peak)
        del batch, everything
        gc.collect()


def _goals_met(
    settings: Settings,
    report: Report,
    lineup: dict[str, Implementation],
    batch: Batch,
    size: Any,
    peak: float | None,
) -> None:
    """Time the main batch, eager and compiled, and hold it to the goals."""
    # Eager first: these numbers stay if a compilation takes too long.
    times = time_lineup(lineup, batch, settings)
    _rows(report, times, len(batch), peak)
    if OURS not in times:
        return
    _profile(report, OURS, lineup[OURS], batch)
    pairs = {OURS: lineup[OURS], STORED: lineup[STORED]}
    backend = 'inductor' if settings.cuda else 'aot_eager'
    options = dict(dynamic=False, backend=backend)
    for name in (OURS, STORED):
        compiled = Trained(
            size,
            lineup[OURS].precision,
            batch.images.device,
            stored=name == STORED,
            compiled=options,
        )
        compiled.start_from(lineup[OURS].model)
        pairs[name + COMPILED] = compiled
        try:
            again = time_lineup(pairs, batch, settings)
        except torch._dynamo.exc.TorchDynamoException as error:
            del pairs[name + COMPILED]
            text = f'{type(error).__name__}: {error}'.splitlines()[0]
            report.skip(f'{name}, compiled', f'does not compile: {text}')
            if name == OURS:
                what = f'{name}, batch {len(batch)}: eager / compiled'
                report.goal(what, float('nan'), least=GOALS['compiled'])
            continue
        if name + COMPILED not in again:
            continue
        # FLOPs are those of the eager step: compiled code hides them.
        again[name + COMPILED]['flops'] = times[name]['flops']
        again.pop(STORED if name == OURS else OURS)
        _rows(report, again, len(batch), peak, suffix=' (with compiled)')
        speedup = again[name]['median'] / again[name + COMPILED]['median']
        what = f'{name}, batch {len(batch)}: eager / compiled'
        if name == OURS:
            report.goal(what, speedup, least=GOALS['compiled'])
        else:
            report.note(what, speedup)
        times[name + COMPILED] = again[name + COMPILED]
        if settings.cuda:
            _profile(report, name + COMPILED, compiled, batch)
        del pairs[name + COMPILED]
    if 'mmpretrain' in times:
        factor = times['mmpretrain']['median'] / _best(times, OURS)['median']
        what = 'mmpretrain / the faster of eager and compiled'
        report.goal(what, factor, least=GOALS['mmpretrain'])
    stored = _best(times, STORED)
    if not stored:
        return
    speed = len(batch) / stored['median']
    if not settings.cuda:
        report.note('images/s with stored tokens', speed)
        return
    report.goal('images/s with stored tokens', speed, least=GOALS['images'])
    if peak:
        for name in (OURS, STORED):
            best = _best(times, name)
            if best:
                share = best['flops'] / best['median'] / peak
                report.goal(f'MFU, {name}', share, least=GOALS['mfu'])


def _best(times: dict[str, dict], name: str) -> dict[str, Any]:
    found = [times[n] for n in (name, name + COMPILED) if n in times]
    return min(found, key=lambda row: row['median'], default={})


def time_lineup(
    lineup: dict[str, Implementation], batch: Batch, settings: Settings
) -> dict[str, dict[str, Any]]:
    """Time steps in turn, A B A B; who lacks memory drops out.

    Returns:
        By name ``median`` and ``min`` seconds, and ``flops`` of a step. The
        value of one without enough memory is missing.
    """
    clock = Clock(batch.images.device)
    rounds = settings.pick(7, 3)
    times: dict[str, list[float]] = {name: [] for name in lineup}
    flops: dict[str, float] = {}
    for name, implementation in lineup.items():
        if COMPILED not in name and _fits(implementation, batch):
            counter = count(lambda i=implementation: i.step(batch))
            flops[name] = counter.total
        for _ in range(settings.pick(3, 1)):
            if name in times and not _fits(implementation, batch):
                del times[name]
    for _ in range(rounds):
        for name in tuple(times):
            try:
                busy, _ = clock(lambda n=name: lineup[n].step(batch))
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
                del times[name]
                _release(lineup[name])
                continue
            times[name].append(max(busy, 1e-9))
    for implementation in lineup.values():
        _release(implementation)
    return {
        name: dict(
            median=statistics.median(found),
            min=min(found),
            flops=flops.get(name),
            rounds=found,
        )
        for name, found in times.items()
    }


def _fits(implementation: Implementation, batch: Batch) -> bool:
    """Take a step, if memory allows."""
    try:
        implementation.step(batch)
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
    else:
        return True
    # Outside of `except`, where the traceback would keep activations.
    _release(implementation)
    return False


def _release(implementation: Implementation) -> None:
    """Free what a step has left: gradients, and cached memory."""
    implementation.model.zero_grad(set_to_none=True)
    scalars = getattr(implementation, 'scalars', None)
    if scalars is not None:
        scalars.flush()
    gc.collect()
    if implementation.device.type == 'cuda':
        torch.cuda.empty_cache()


def _rows(
    report: Report,
    times: dict[str, dict[str, Any]],
    batch_size: int,
    peak: float | None,
    suffix: str = '',
) -> None:
    report.detail(f'times, batch {batch_size}{suffix}', times)
    report.note(f'batch {batch_size}{suffix}', ', '.join(times) or 'too large')
    for name, row in times.items():
        what = f'batch {batch_size}, {name}: '
        report.note(what + 'ms a step', 1000 * row['median'])
        report.note(what + 'images/s', batch_size / row['median'])
        if peak and row['flops'] and name.startswith(OURS):
            report.note(what + 'MFU', row['flops'] / row['median'] / peak)


def _profile(
    report: Report, name: str, implementation: Implementation, batch: Batch
) -> None:
    """Where the time goes: kernels, launches and gaps."""
    found = profile_steps(
        lambda: implementation.step(batch), batch.images.device
    )
    report.detail(f'where the time goes, {name}', found)
    if batch.images.device.type != 'cuda':
        return
    report.note(f'{name}: kernel launches a step', found['launches'])
    report.note(f'{name}: share of gaps between kernels', found['gaps'])
    for kernel, seconds in list(found['top'].items())[:5]:
        report.note(f'{name}: ms in {kernel}', 1000 * seconds)
