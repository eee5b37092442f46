# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Which kernel computes an operation; only the files beside this one ask.

All kernels give the same numbers but for rounding. ``'auto'`` takes what was
measured to be the fastest on the device. ``MMCAE_KERNELS=torch`` in the
environment takes PyTorch's own for everything, and `use_kernels` forces
single ones, for comparisons.
"""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

#: What there is to choose; ``'auto'`` comes first.
KERNELS = {
    # PyTorch's fused attention, or matrix products and a softmax.
    'attention': ('auto', 'fused', 'explicit'),
    # What PyTorch calls; or oneDNN also where PyTorch would call MKL, and
    # under autocast casts of weights that are not kept.
    'linear': ('auto', 'torch', 'onednn'),
    # Whether the backward pass computes GELU again instead of keeping it.
    'activation': ('auto', 'keep', 'recompute'),
    # The frozen tokenizer's: PyTorch's, or oneDNN's with ReLU inside.
    'conv': ('auto', 'torch', 'onednn'),
    # Cross-entropy: PyTorch's, or in slices of rows that need less memory.
    'loss': ('auto', 'torch', 'slices'),
}
#: The environment variable that chooses for all kinds: ``auto``, ``torch``.
VARIABLE = 'MMCAE_KERNELS'
# What PyTorch does by itself.
_TORCH = {
    'attention': 'fused',
    'linear': 'torch',
    'activation': 'keep',
    'conv': 'torch',
    'loss': 'torch',
}
# Below this number of multiply-adds a call costs more than it saves.
_ONEDNN_FROM = 10_000_000
# Longer sequences would keep too many scores for the backward pass.
_EXPLICIT_UP_TO = 256
_forced: dict[str, str] = {}


def chosen(kernel: str) -> str:
    """Return what is chosen for a kind of kernel.

    Raises:
        ValueError: If the environment variable has another value.
    """
    if kernel in _forced:
        return _forced[kernel]
    everything = os.environ.get(VARIABLE, 'auto')
    if everything == 'torch':
        return _TORCH[kernel]
    if everything != 'auto':
        raise ValueError(f"{VARIABLE}={everything!r}: set 'auto' or 'torch'")
    return 'auto'


@contextmanager
def use_kernels(**choices: str) -> Iterator[None]:
    """Force kernels for a while, for comparisons.

    Args:
        **choices: Values of `KERNELS` by its keys.

    Raises:
        ValueError: If there is no such kernel.
    """
    before = dict(_forced)
    for kernel, choice in choices.items():
        if choice not in KERNELS.get(kernel, ()):
            raise ValueError(
                f'{kernel}={choice!r} is none of '
                f'{KERNELS.get(kernel, KERNELS)}'
            )
    _forced.update(choices)
    try:
        yield
    finally:
        _forced.clear()
        _forced.update(before)


def watched() -> bool:
    """Whether operations are traced, compiled, exported, or counted.

    Compilers, exporters and counters of FLOPs know PyTorch's public
    operations only.
    """
    return (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()
        or torch._C._len_torch_dispatch_stack() > 0
    )


def _plain(*tensors: Tensor) -> bool:
    return all(type(t) in (Tensor, torch.nn.Parameter) for t in tensors)


def explicit_attention(query: Tensor, key: Tensor) -> bool:
    """Whether attention is computed by matrix products and a softmax.

    In bfloat16 on CPUs the backward pass of the fused kernel takes five
    times as long as the explicit one at 99 tokens.

    Args:
        query: ``(B, heads, M, d)``.
        key: ``(B, heads, N, d)``.
    """
    choice = chosen('attention')
    if choice != 'auto':
        return choice == 'explicit'
    return (
        query.device.type == 'cpu'
        and query.dtype == torch.bfloat16
        and key.shape[-2] <= _EXPLICIT_UP_TO
    )


def onednn_linear(x: Tensor, weight: Tensor) -> bool:
    """Whether a float32 linear layer is computed by oneDNN.

    PyTorch computes it with MKL, which leaves AVX-512 unused on AMD's
    processors: there oneDNN is twice as fast.

    Args:
        x: Input, ``(..., in)``.
        weight: ``(out, in)``.
    """
    if x.device.type != 'cpu':
        return False
    choice = chosen('linear')
    if choice == 'torch' or watched() or torch.is_autocast_enabled('cpu'):
        return False
    if not _plain(x, weight) or not x.numel():
        return False
    if not x.dtype == weight.dtype == torch.float32 or not onednn_works():
        return False
    if choice == 'onednn':
        return True
    rows = x.numel() // x.shape[-1]
    return rows * weight.numel() >= _ONEDNN_FROM and mkl_is_slow()


def casts_at_use(x: Tensor, weight: Tensor) -> bool:
    """Whether a linear layer under autocast casts its weight as it uses it.

    Autocast keeps the casts of all weights until the backward pass, 300 MB
    of a base-size CAE. On CPUs it takes longer to get that memory than to
    cast twice.

    Args:
        x: Input, ``(..., in)``.
        weight: ``(out, in)``.
    """
    if x.device.type != 'cpu' or not torch.is_autocast_enabled('cpu'):
        return False
    return (
        chosen('linear') != 'torch'
        and not watched()
        and _plain(x, weight)
        and weight.dtype == torch.float32
    )


@lru_cache
def mkl_is_slow() -> bool:
    """Whether MKL serves this processor without its widest registers."""
    capability = torch.backends.cpu.get_cpu_capability()
    if not torch.backends.mkl.is_available() or 'AVX512' not in capability:
        return False
    info = Path('/proc/cpuinfo')
    vendor = info.read_text() if info.is_file() else platform.processor()
    return 'AuthenticAMD' in vendor


@lru_cache
def onednn_works() -> bool:
    """Whether PyTorch's oneDNN operations are there and give the numbers.

    They are PyTorch's own but not documented, so they are tried once.
    """
    if not torch.backends.mkldnn.is_available():
        return False
    x = torch.linspace(-1, 1, 33 * 24).view(33, 24)
    weight = torch.linspace(1, -2, 17 * 24).view(17, 24).sin()
    bias = torch.linspace(0, 1, 17)
    try:
        pairs = [
            (matmul_onednn(x, weight, bias), x @ weight.T + bias),
            # Both operands transposed, as for the gradient of a weight.
            (matmul_onednn(x.T, x[:, :5].T), x.T @ x[:, :5]),
        ]
        return all(
            torch.allclose(ours, theirs, rtol=1e-5, atol=1e-4)
            for ours, theirs in pairs
        )
    except Exception:  # whatever it is, PyTorch's own way works
        return False


def matmul_onednn(
    x: Tensor, weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    """Multiply ``x (n, k)`` by the transpose of ``weight (m, k)``."""
    operation = torch.ops.mkldnn._linear_pointwise
    return operation(x, weight, bias, 'none', [], '')


def onednn_conv(x: Tensor) -> bool:
    """Whether a frozen convolution calls oneDNN by its own operation.

    It applies ReLU without a pass over the result; and PyTorch leaves 1x1
    convolutions of small batches to MKL, see `onednn_linear`.

    Args:
        x: Input, ``(B, C, H, W)``.
    """
    return (
        x.device.type == 'cpu'
        and chosen('conv') != 'torch'
        and not torch.is_grad_enabled()
        and not watched()
        and type(x) is Tensor
        and x.numel() > 0
        and onednn_conv_works(x.dtype)
    )


@lru_cache
def onednn_conv_works(dtype: torch.dtype) -> bool:
    """Whether the operation is there and gives the numbers; tried once."""
    if not torch.backends.mkldnn.is_available():
        return False
    if dtype not in (torch.float32, torch.bfloat16):
        return False
    x = torch.linspace(-3, 3, 2 * 8 * 25).sin().view(2, 8, 5, 5).to(dtype)
    weight = torch.linspace(-9, 9, 6 * 8 * 9).sin().view(6, 8, 3, 3).to(dtype)
    bias = torch.linspace(-1, 1, 6).to(dtype)
    x = x.contiguous(memory_format=torch.channels_last)
    try:
        ours = conv_onednn(x, weight, bias, relu=True)
        theirs = torch.relu(torch.conv2d(x, weight, bias, padding=1))
        close = 1e-5 if dtype == torch.float32 else 2e-2
        return torch.allclose(ours, theirs, rtol=close, atol=close)
    except Exception:  # whatever it is, PyTorch's own way works
        return False


def conv_onednn(x: Tensor, weight: Tensor, bias: Tensor, relu: bool) -> Tensor:
    """Convolve with padding that keeps the size, then apply ReLU if asked."""
    padding = [side // 2 for side in weight.shape[-2:]]
    operation = torch.ops.mkldnn._convolution_pointwise
    after = 'relu' if relu else 'none'
    return operation(
        x, weight, bias, padding, [1, 1], [1, 1], 1, after, [], ''
    )
