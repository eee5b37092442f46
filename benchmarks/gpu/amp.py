# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Mixed precision: broken gradients change no weight."""

import torch
from speed.batches import make_batch
from speed.ours import Ours
from speed.sizes import load_size
from torch import Tensor

from .report import Report
from .settings import Settings

# The recipe's wrapper has a loss scaler; the tiny recipe's has not.
RECIPE_SCALE = dict(type='mmcae.AmpOptimWrapper', loss_scale='dynamic')


def run(settings: Settings, report: Report) -> None:
    for precision in settings.half:
        _injected(settings, report, precision)
    _recipe(settings, report)


def _weights(ours: Ours) -> list[Tensor]:
    return [p.detach().clone() for p in ours.weights()]


def _same(ours: Ours, before: list[Tensor]) -> bool:
    return all(
        torch.equal(a, b) for a, b in zip(before, ours.weights(), strict=True)
    )


def _injected(settings: Settings, report: Report, precision: str) -> None:
    size = load_size('tiny')
    size.optim_wrapper.update(RECIPE_SCALE)
    ours = Ours(size, precision, settings.torch_device)
    for group in ours.optimizer.param_groups:
        group['lr'] = 1e-3
    wrapper = ours.wrapper
    batch = make_batch(size, 4, settings.torch_device)
    scaler = wrapper.loss_scaler  # type: ignore[attr-defined]
    scales = precision == 'fp16' and settings.cuda
    what = f'{precision} has {"a" if scales else "no"} loss scaler'
    report.require(what, scaler.is_enabled() == scales)
    before = _weights(ours)
    # A scaler begins with a large factor: let it find one that fits.
    for _ in range(12):
        ours.step(batch)
    report.require(f'{precision}: steps train', not _same(ours, before))
    for value in (float('inf'), float('nan')):
        before, scale = _weights(ours), scaler.get_scale()
        wrapper.backward(ours.loss(batch))
        next(iter(ours.trained())).grad.view(-1)[0] = value
        wrapper.step()
        wrapper.zero_grad()
        report.require(
            f'{precision}: a gradient of {value} changes no weight',
            _same(ours, before),
        )
        if scales:
            report.require(
                f'{precision}: a gradient of {value} lowers the scale',
                scaler.get_scale() < scale,
            )
    before = _weights(ours)
    ours.step(batch)
    report.require(
        f'{precision}: the next step trains again',
        not _same(ours, before) and all(map(_finite, ours.weights())),
    )


def _finite(tensor: Tensor) -> bool:
    return bool(tensor.isfinite().all())


def _recipe(settings: Settings, report: Report) -> None:
    """The pretraining recipe's own wrapper, fp16 on a GPU."""
    size = load_size('base' if settings.cuda else 'tiny')
    if not settings.cuda:
        size.optim_wrapper.update(RECIPE_SCALE)
    precision = 'fp16' if settings.cuda else 'bf16'
    ours = Ours(size, precision, settings.torch_device)
    batch = make_batch(size, settings.pick(16, 4), settings.torch_device)
    losses = []
    for _ in range(settings.pick(20, 5)):
        loss = ours.loss(batch)
        ours.wrapper.update_params(loss)
        losses.append(loss.item())
    report.detail('losses of the recipe', losses)
    finite = all(map(_finite, ours.weights()))
    report.require(f"the recipe's wrapper in {precision}: finite", finite)
    falls = losses[-1] < losses[0]
    report.require(f"the recipe's wrapper in {precision}: loss falls", falls)
