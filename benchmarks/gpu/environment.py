# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Which card and software, which kernels of attention, how fast products."""

import importlib.metadata
import shutil
import subprocess

import torch
import torch.nn.functional as F
from speed.ceilings import gpu_peak
from speed.clock import Clock
from speed.implementation import PRECISIONS
from speed.machine import describe_machine
from torch.nn.attention import SDPBackend

from .report import Report
from .settings import Settings

PACKAGES = ('torchvision', 'numpy', 'onedl-mmengine', 'onedl-mmcv')
PACKAGES += ('onedl-mmpretrain', 'timm')
# Queries and keys of an image: the encoder, the regressor, whole images.
SHAPES = dict(encoder=(99, 99), regressor=(98, 196), images=(197, 197))


def run(settings: Settings, report: Report) -> None:
    device = settings.torch_device
    report.detail('machine', describe_machine(device))
    report.note('torch', torch.__version__)
    report.note('device', _card(device))
    if settings.cuda:
        report.note('driver', _driver())
        report.note('CUDA of torch', torch.version.cuda)
        report.note('cuDNN', torch.backends.cudnn.version())
        capability = torch.cuda.get_device_capability(device)
        report.note('compute capability', '{}.{}'.format(*capability))
        report.require('the card has bfloat16', torch.cuda.is_bf16_supported())
    for package in PACKAGES:
        report.note(package, _version(package))
    for precision in ('fp32', *settings.half):
        for name, shape in SHAPES.items():
            _attention(report, precision, name, shape, device)
    _products(settings, report)


def _card(device: torch.device) -> str:
    if device.type == 'cpu':
        return describe_machine(device)['cpu']
    return torch.cuda.get_device_name(device)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return 'not installed'


def _driver() -> str:
    if shutil.which('nvidia-smi') is None:
        return 'unknown: no nvidia-smi'
    command = ['nvidia-smi', '--query-gpu=driver_version', '--format=csv']
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    lines = done.stdout.split()
    return lines[-1] if done.returncode == 0 and lines else 'unknown'


def _attention(
    report: Report,
    precision: str,
    name: str,
    shape: tuple[int, int],
    device: torch.device,
) -> None:
    """Note PyTorch's choice, and require that it runs forth and back."""
    dtype = PRECISIONS[precision] or torch.float32
    queries, keys = shape
    query = torch.randn(2, 12, queries, 64, device=device, dtype=dtype)
    key = torch.randn(2, 12, keys, 64, device=device, dtype=dtype)
    query.requires_grad_()
    # Private, but the only way to learn the choice without a profiler.
    choice = getattr(torch, '_fused_sdp_choice', None)
    if choice is not None:
        found = SDPBackend(choice(query, key, key)).name
        report.note(f'attention, {name} {shape}, {precision}', found)
    F.scaled_dot_product_attention(query, key, key).sum().backward()
    assert query.grad is not None
    finite = bool(query.grad.isfinite().all())
    report.require(f'attention, {name}, {precision}: finite', finite)


def _products(settings: Settings, report: Report) -> None:
    """The fastest of square products, beside the vendor's number."""
    device = settings.torch_device
    sizes = (1024, 2048, 4096, 8192) if settings.cuda else (128, 256)
    clock, speeds = Clock(device), {}
    repeats = settings.pick(10, 2)
    for size in sizes:
        a = torch.randn(size, size, device=device, dtype=torch.bfloat16)

        def multiply(a: torch.Tensor = a) -> None:
            for _ in range(repeats):
                a @ a

        multiply()
        least = min(clock(multiply)[0] for _ in range(3))
        # Processor time has steps; a product may be shorter than one.
        speeds[size] = 2 * size**3 * repeats / max(least, 1e-6)
    report.detail('products', {str(k): v for k, v in speeds.items()})
    best = max(speeds, key=speeds.__getitem__)
    measured = speeds[best]
    what = f'bf16 products, TFLOP/s (best: {best} x {best})'
    report.note(what, measured / 1e12)
    peak = gpu_peak(_card(device)) if settings.cuda else None
    if peak:
        report.goal("share of the vendor's peak", measured / peak, least=0.6)
