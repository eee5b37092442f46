# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""One process under DDP; an encoder's speed beside timm's."""

import statistics
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from speed.batches import make_batch
from speed.clock import Clock, alternate
from speed.implementation import PRECISIONS
from speed.ours import Ours
from speed.sizes import load_size
from torch import Tensor, nn

from mmcae.models import CAEPretrainViT, CAEViT

from .parity import exact_float32
from .report import Report
from .settings import Settings

REPO = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO / 'tools/model_converters'))


def run(settings: Settings, report: Report) -> None:
    with exact_float32():
        _one_rank(settings, report)
        _inference(settings, report)


def _one_rank(settings: Settings, report: Report) -> None:
    """A step under DDP has the gradients of a step without."""
    backend = 'nccl' if settings.cuda else 'gloo'
    store = settings.folder('nccl') / 'store'
    store.unlink(missing_ok=True)
    if settings.cuda:
        torch.cuda.set_device(0)
    dist.init_process_group(
        backend, init_method=store.as_uri(), rank=0, world_size=1
    )
    try:
        value = torch.ones(4, device=settings.torch_device)
        dist.all_reduce(value)
        report.require(f'{backend}: all_reduce', bool(value.eq(1).all()))
        size = load_size('tiny')
        ours = Ours(size, 'fp32', settings.torch_device)
        batch = make_batch(size, 4, settings.torch_device)
        ours.loss(batch).backward()
        plain = _gradients(ours.model)
        ours.model.zero_grad()
        ids = [0] if settings.cuda else None
        wrapped = nn.parallel.DistributedDataParallel(
            ours.model, device_ids=ids
        )
        losses = wrapped(**ours.arguments(batch), mode='loss')
        losses['loss'].backward()
        error = (
            _gradients(ours.model) - plain
        ).abs().max() / plain.abs().max()
        what = f'{backend}: gradients under DDP, relative difference'
        report.require(what, error.item(), most=1e-5)
        if settings.cuda:
            report.note('NCCL', '.'.join(map(str, torch.cuda.nccl.version())))
    finally:
        dist.destroy_process_group()


def _gradients(model: nn.Module) -> Tensor:
    found = [p.grad for p in model.parameters() if p.grad is not None]
    return torch.cat([grad.detach().flatten().clone() for grad in found])


def _inference(settings: Settings, report: Report) -> None:
    """Images/s of the same weights in both packages."""
    try:
        from timm.models.beit import Beit
    except ImportError:
        report.skip('inference beside timm', 'timm is not installed')
        return
    from mmcae_to_timm import convert

    device = settings.torch_device
    size = load_size(settings.arch)
    torch.manual_seed(0)
    shape = dict(
        arch=dict(size.arch),
        img_size=size.image_size,
        patch_size=size.model.backbone.patch_size,
        layer_scale_init_value=size.model.backbone.layer_scale_init_value,
    )
    pretrained = CAEPretrainViT(**shape)
    pretrained.init_weights()
    ours = CAEViT(
        **shape,
        out_type='cls_token',
        final_norm=True,
        use_rel_pos_bias=False,
    )
    ours.load_state_dict(pretrained.state_dict())
    state = {f'backbone.{k}': v for k, v in pretrained.state_dict().items()}
    heads = size.arch['num_heads']
    converted, arguments = convert({'state_dict': state}, num_heads=heads)
    theirs = Beit(**arguments)  # type: ignore[arg-type]
    theirs.load_state_dict(converted)
    models: dict[str, Any] = dict(mmcae=ours, timm=theirs)
    for model in models.values():
        model.to(device).eval()
    clock, repeats = Clock(device), settings.pick(20, 2)
    for precision in ('fp32', *settings.half[:1]):
        dtype = PRECISIONS[precision]
        for batch_size in (1, 64):
            images = torch.randn(
                batch_size, 3, *[size.image_size] * 2, device=device
            )

            def encode(name: str, images: Tensor = images, dtype=dtype) -> Any:
                with (
                    torch.inference_mode(),
                    torch.autocast(
                        device.type, dtype, enabled=dtype is not None
                    ),
                ):
                    out = models[name](images)
                    return out[0] if isinstance(out, tuple) else out

            if precision == 'fp32':
                one, two = encode('mmcae'), encode('timm')
                error = ((one - two).abs().max() / two.abs().max()).item()
                what = f'class token as timm, batch {batch_size}'
                report.require(what, error, most=1e-4)
            calls = {
                name: lambda n=name: [encode(n) for _ in range(repeats)]
                for name in models
            }
            for call in calls.values():
                call()
            times = alternate(calls, settings.pick(7, 3), clock)
            for name, found in times.items():
                seconds = max(statistics.median(found['busy']), 1e-9)
                speed = repeats * batch_size / seconds
                text = f'{name}, {precision}, batch {batch_size}: images/s'
                report.note(text, speed)
