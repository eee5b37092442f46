# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The host never waits for the device in a training step."""

import contextlib
from collections.abc import Iterator

import torch
from speed.batches import Batch, make_batch

from .models import Trained, size_of
from .profiling import profile_steps
from .report import Report
from .settings import Settings


def run(settings: Settings, report: Report) -> None:
    device = settings.torch_device
    half = settings.half[0]
    size = size_of(settings, half)
    batch = make_batch(size, settings.pick(32, 2), device)
    for precision in ('fp32', *settings.half):
        ours = Trained(size, precision, device)
        if not settings.cuda:
            report.skip(f'no host wait in {precision}', 'needs a GPU')
            continue
        waits = find_wait(ours, batch)
        report.detail(f'host wait, {precision}', waits)
        report.require(f'no host wait in {precision}', waits is None)
    if settings.cuda:
        stored = Trained(size, half, device, stored=True)
        waits = find_wait(stored, batch)
        report.detail(f'host wait, {half}, stored tokens', waits)
        report.require(
            f'no host wait in {half} with stored tokens', waits is None
        )
        del stored
    _launches(report, ours, batch)


@contextlib.contextmanager
def errors_on_waits() -> Iterator[None]:
    """Let PyTorch raise where the host would wait for a GPU."""
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode('error')
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


def find_wait(ours: Trained, batch: Batch) -> str | None:
    """Take three steps; returns what waited, or None."""
    for _ in range(3):
        ours.step(batch)  # does some things once
    torch.cuda.synchronize()
    try:
        with errors_on_waits():
            for _ in range(3):
                ours.step(batch)
    except RuntimeError as error:
        if 'synchroniz' not in str(error):
            raise
        frame = error.__traceback__
        places = []
        while frame is not None:
            code = frame.tb_frame.f_code
            places.append(f'{code.co_name}:{frame.tb_lineno}')
            frame = frame.tb_next
        return f'{error} in {" > ".join(places[-4:])}'
    return None


def _launches(report: Report, ours: Trained, batch: Batch) -> None:
    ours.step(batch)
    found = profile_steps(lambda: ours.step(batch), ours.device)
    report.detail('profile', found)
    cuda = ours.device.type == 'cuda'
    what = 'kernel launches a step' if cuda else 'operations a step'
    report.note(f'{what}, eager, {ours.precision}', found['launches'])
    if cuda:
        report.note(f'gaps, batch {len(batch)}', found['gaps'])
