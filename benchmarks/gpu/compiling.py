# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""``compile=True``: where the graph breaks; nothing is compiled twice."""

import torch
from mmengine.registry import MODELS
from speed.batches import make_batch
from torch._dynamo.utils import counters

from mmcae.models.layers import split_patches

from .models import Trained, size_of
from .report import Report
from .settings import Settings


def run(settings: Settings, report: Report) -> None:
    _one_graph_each(settings, report)
    for part in (_recompilations, _breaks):
        try:
            part(settings, report)
        except torch._dynamo.exc.TorchDynamoException as error:
            report.detail(f'error of {part.__name__}', str(error))
            text = f'{type(error).__name__}: {error}'.splitlines()[0]
            name = part.__name__.strip('_')
            report.require(f'a training step compiles ({name}): {text}', False)
            torch.compiler.reset()


def _one_graph_each(settings: Settings, report: Report) -> None:
    """Encoder and neck compile without a break, or this raises."""
    device, size = settings.torch_device, size_of(settings, 'fp32')
    model = MODELS.build(size.model).to(device).train()
    batch = make_batch(size, 2, device)
    split = split_patches(batch.host_mask, size.grid**2).to(device)
    options = dict(fullgraph=True, backend='aot_eager', dynamic=False)
    encoder = torch.compile(model.backbone, **options)
    neck = torch.compile(model.neck, **options)
    try:
        visible = encoder(batch.images, split)[:, 1:]
        logits, latent = neck(visible, split, (size.grid, size.grid))
        (logits.square().mean() + latent.square().mean()).backward()
    except torch._dynamo.exc.Unsupported as error:
        report.detail('break inside encoder or neck', str(error))
        report.require('encoder and neck are one graph each', False)
    else:
        report.require('encoder and neck are one graph each', True)
    torch.compiler.reset()


def _breaks(settings: Settings, report: Report) -> None:
    """List where the graph of a whole training step breaks."""
    size = size_of(settings, 'fp32')
    device = settings.torch_device
    ours = Trained(size, settings.half[0], device)
    batch = make_batch(size, 2, device)
    ours.step(batch)
    explain = torch._dynamo.explain(ours.model.train_step)
    found = explain(ours.arguments(batch), ours.wrapper)
    reasons = [reason.reason.splitlines()[0] for reason in found.break_reasons]
    places = [
        f'{frame.name}:{frame.lineno}'
        for frame in (
            reason.user_stack[-1]
            for reason in found.break_reasons
            if reason.user_stack
        )
    ]
    report.detail('graph breaks', dict(reasons=reasons, places=places))
    report.note('graphs of a training step', found.graph_count)
    report.note('graph breaks', found.graph_break_count)
    for place in dict.fromkeys(places):
        report.note('graph breaks in', place)
    torch.compiler.reset()


def _recompilations(settings: Settings, report: Report) -> None:
    """Steps of varying data with one batch size compile nothing anew."""
    size = size_of(settings, 'fp32')
    device = settings.torch_device
    # The backend does not decide what is compiled anew, and this one is fast.
    options = dict(backend='aot_eager', dynamic=False)
    ours = Trained(size, settings.half[0], device, compiled=options)
    steps = settings.pick(50, 10)
    batches = [make_batch(size, 4, device, seed) for seed in range(5)]
    for batch in batches[:3]:  # some tables are made in the first steps
        ours.step(batch)
    before = counters['stats']['unique_graphs']
    for step in range(steps):
        ours.step(batches[step % len(batches)])
    after = counters['stats']['unique_graphs']
    report.require('something was compiled', before > 0)
    what = f'graphs compiled anew in {steps} steps of varying data'
    report.require(what, after - before, most=0)
    torch.compiler.reset()
