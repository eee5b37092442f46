# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Choose the kernel that computes an operation; only `ops` imports this.

All kernels give the same numbers, except for rounding. ``'auto'`` chooses the
kernel that was measured to be the fastest on the device. For comparisons,
``MMCAE_KERNELS=torch`` in the environment chooses PyTorch's own kernel for
every operation, and `use_kernels` forces single ones.
"""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

#: The choices for each kind of operation.
KERNELS = {
    # PyTorch's fused attention, or matrix products and a softmax.
    'attention': ('auto', 'fused', 'explicit'),
    # PyTorch's choice, or oneDNN. PyTorch would call MKL in float32, and it
    # would keep the casts of all weights under autocast.
    'linear': ('auto', 'torch', 'onednn'),
    # Keep the output of GELU for the backward pass, or compute it again.
    'activation': ('auto', 'keep', 'recompute'),
    # Convolutions of the frozen tokenizer: PyTorch's, or oneDNN's that
    # applies ReLU as well.
    'conv': ('auto', 'torch', 'onednn'),
    # Cross-entropy: PyTorch's, or in slices of rows, which takes less memory.
    'loss': ('auto', 'torch', 'slices'),
}
#: The environment variable for all operations: ``auto`` or ``torch``.
VARIABLE = 'MMCAE_KERNELS'
# The choices that stand for plain PyTorch.
_TORCH = {
    'attention': 'fused',
    'linear': 'torch',
    'activation': 'keep',
    'conv': 'torch',
    'loss': 'torch',
}
# Below this number of multiply-adds oneDNN saves less than its call costs.
_ONEDNN_FROM = 10_000_000
# With longer sequences the scores kept for the backward pass are too many.
_EXPLICIT_UP_TO = 256
_forced: dict[str, str] = {}


def kernel_choice(kernel: str) -> str:
    """Return the choice for a kind of operation, a value of `KERNELS`.

    Raises:
        ValueError: If the environment variable is neither ``auto`` nor
            ``torch``.
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
    """Force kernels inside a ``with`` block, for comparisons.

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


def is_traced() -> bool:
    """Tell whether operations are traced, compiled, exported or counted.

    Compilers, exporters and FLOP counters know PyTorch's public operations
    only.
    """
    return (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()
        or torch._C._len_torch_dispatch_stack() > 0
    )


def _are_plain_tensors(*tensors: Tensor) -> bool:
    return all(type(t) in (Tensor, torch.nn.Parameter) for t in tensors)


def explicit_attention(query: Tensor, key: Tensor) -> bool:
    """Choose whether matrix products and a softmax compute attention.

    In bfloat16 on CPUs at 99 tokens, the backward pass of the fused kernel
    takes five times as long as that of the explicit one.

    Args:
        query: ``(B, heads, M, d)``.
        key: ``(B, heads, N, d)``.
    """
    choice = kernel_choice('attention')
    if choice != 'auto':
        return choice == 'explicit'
    return (
        query.device.type == 'cpu'
        and query.dtype == torch.bfloat16
        and key.shape[-2] <= _EXPLICIT_UP_TO
    )


def onednn_linear(x: Tensor, weight: Tensor) -> bool:
    """Choose whether oneDNN computes a linear layer in float32.

    PyTorch calls MKL, which does not use AVX-512 on AMD processors; oneDNN
    is up to twice as fast there.

    Args:
        x: Input, ``(..., in)``.
        weight: ``(out, in)``.
    """
    if x.device.type != 'cpu':
        return False
    choice = kernel_choice('linear')
    if choice == 'torch' or is_traced() or torch.is_autocast_enabled('cpu'):
        return False
    if not _are_plain_tensors(x, weight) or not x.numel():
        return False
    if not x.dtype == weight.dtype == torch.float32 or not onednn_works():
        return False
    if choice == 'onednn':
        return True
    rows = x.numel() // x.shape[-1]
    return rows * weight.numel() >= _ONEDNN_FROM and mkl_is_slow()


def recasts_weight(x: Tensor, weight: Tensor) -> bool:
    """Choose whether a linear layer under autocast casts its weight anew.

    Autocast keeps the casts of all weights until the backward pass, 300 MB
    for a base-size CAE. On CPUs, allocating that memory takes longer than
    casting each weight a second time.

    Args:
        x: Input, ``(..., in)``.
        weight: ``(out, in)``.
    """
    if x.device.type != 'cpu' or not torch.is_autocast_enabled('cpu'):
        return False
    return (
        kernel_choice('linear') != 'torch'
        and not is_traced()
        and _are_plain_tensors(x, weight)
        and weight.dtype == torch.float32
    )


@lru_cache
def mkl_is_slow() -> bool:
    """Tell whether this is an AMD processor whose AVX-512 MKL ignores."""
    capability = torch.backends.cpu.get_cpu_capability()
    if not torch.backends.mkl.is_available() or 'AVX512' not in capability:
        return False
    info = Path('/proc/cpuinfo')
    vendor = info.read_text() if info.is_file() else platform.processor()
    return 'AuthenticAMD' in vendor


@lru_cache
def onednn_works() -> bool:
    """Tell whether PyTorch has the oneDNN product, and it is correct.

    The operation is not documented, so it is tried once.
    """
    if not torch.backends.mkldnn.is_available():
        return False
    x = torch.linspace(-1, 1, 33 * 24).view(33, 24)
    weight = torch.linspace(1, -2, 17 * 24).view(17, 24).sin()
    bias = torch.linspace(0, 1, 17)
    try:
        pairs = [
            (matmul_onednn(x, weight, bias), x @ weight.T + bias),
            # Both operands are transposed, as for the gradient of a weight.
            (matmul_onednn(x.T, x[:, :5].T), x.T @ x[:, :5]),
        ]
        return all(
            torch.allclose(ours, theirs, rtol=1e-5, atol=1e-4)
            for ours, theirs in pairs
        )
    except Exception:  # of whatever kind: plain PyTorch always works
        return False


def matmul_onednn(
    x: Tensor, weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    """Multiply ``x (n, k)`` by the transpose of ``weight (m, k)``.

    The documented way, ``F.linear(x.to_mkldnn(), weight, bias).to_dense()``,
    copies inputs, outputs and gradients: forward and backward of a base
    step's layers took 6 % longer in sum than this operation, plain PyTorch
    22 % (float32, one thread of an AMD EPYC of 2022, torch 2.14).
    """
    operation = torch.ops.mkldnn._linear_pointwise
    return operation(x, weight, bias, 'none', [], '')


def onednn_conv(x: Tensor) -> bool:
    """Choose whether oneDNN's own operation computes a frozen convolution.

    It applies ReLU without a second pass over the result. For small batches,
    PyTorch would also compute 1x1 convolutions with MKL; see
    `onednn_linear`.

    Args:
        x: Input, ``(B, C, H, W)``.
    """
    return (
        x.device.type == 'cpu'
        and kernel_choice('conv') != 'torch'
        and not torch.is_grad_enabled()
        and not is_traced()
        and type(x) is Tensor
        and x.numel() > 0
        and onednn_conv_works(x.dtype)
    )


@lru_cache
def onednn_conv_works(dtype: torch.dtype) -> bool:
    """Tell whether PyTorch has the operation, and it is correct."""
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
    except Exception:  # of whatever kind: plain PyTorch always works
        return False


def conv_onednn(x: Tensor, weight: Tensor, bias: Tensor, relu: bool) -> Tensor:
    """Convolve with padding that keeps the size, then apply ReLU if asked.

    The documented way, ``F.conv2d(x.to_mkldnn(), ...)``, reorders its inputs
    and outputs: the tokenizer's convolutions took 30 % longer (bfloat16:
    27 %). Plain PyTorch took 3 % longer (4 %), on the machine named in
    `matmul_onednn`.
    """
    padding = [side // 2 for side in weight.shape[-2:]]
    operation = torch.ops.mkldnn._convolution_pointwise
    after = 'relu' if relu else 'none'
    return operation(
        x, weight, bias, padding, [1, 1], [1, 1], 1, after, [], ''
    )
