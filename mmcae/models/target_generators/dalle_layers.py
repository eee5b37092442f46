# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""What DALL-E's encoder and decoder share (arXiv 2102.12092, A.2)."""

import math
from collections import OrderedDict

import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from mmengine.model import BaseModule
from torch import Tensor, nn

from ..ops import conv2d_relu
from .common import init_pretrained

LOGIT_LAPLACE_EPS = 0.1
PRECISIONS = {
    'fp32': torch.float32,
    'fp16': torch.float16,
    'bf16': torch.bfloat16,
}


def map_pixels(pixels: Tensor, eps: float = LOGIT_LAPLACE_EPS) -> Tensor:
    """Squeeze pixels from [0, 1] into [eps, 1 - eps].

    The logit of the logit-Laplace likelihood is infinite at 0 and 1
    (arXiv 2102.12092, appendix A.3).

    Args:
        pixels: Pixels in [0, 1], any shape.
        eps: Width of the margin.

    Returns:
        Mapped pixels of the same shape.
    """
    return (1 - 2 * eps) * pixels + eps


def unmap_pixels(mapped: Tensor, eps: float = LOGIT_LAPLACE_EPS) -> Tensor:
    """Undo `map_pixels` and clamp to [0, 1].

    Args:
        mapped: Mapped pixels, any shape.
        eps: Width of the margin.

    Returns:
        Pixels in [0, 1] of the same shape.
    """
    return ((mapped - eps) / (1 - 2 * eps)).clamp(0, 1)


class DALLEConv(nn.Module):
    """Convolution that keeps the size; its tensors are ``w`` and ``b``.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Odd kernel size.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int):
        super().__init__()
        std = 1 / math.sqrt(in_channels * kernel_size**2)
        shape = (out_channels, in_channels, kernel_size, kernel_size)
        self.w = nn.Parameter(torch.empty(shape).normal_(std=std))
        self.b = nn.Parameter(torch.zeros(out_channels))

    def forward(
        self, x: Tensor, relu: bool = False, gain: float = 1.0
    ) -> Tensor:
        """Convolve in the precision of the input, not of the weights.

        Args:
            x: ``(B, in, H, W)``.
            relu: Whether ReLU is applied to the result.
            gain: Factor of the result before ReLU, a power of two; it is
                multiplied into the weights.

        Returns:
            ``(B, out, H, W)``.
        """
        w, b = self._weights(x.dtype, gain)
        return conv2d_relu(x, w, b, relu)

    def _weights(
        self, dtype: torch.dtype, gain: float
    ) -> tuple[Tensor, Tensor]:
        if dtype == self.w.dtype and gain == 1:
            return self.w, self.b
        # Cast at every call: keeping the casts would take 74 MB.
        w, b = ((p.detach() * gain).to(dtype) for p in (self.w, self.b))
        if not w.is_cpu and dtype != torch.float32:
            w = w.contiguous(memory_format=torch.channels_last)
        return w, b


class DALLEBlock(nn.Module):
    """Residual block: identity (or 1x1) path plus a scaled bottleneck.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        gain: Factor of the bottleneck path.
        kernel_sizes: Kernel sizes of the four convolutions of that path.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        gain: float,
        kernel_sizes: tuple[int, ...],
    ):
        super().__init__()
        self.gain = gain
        # Multiplying weights by a power of two is exact.
        self.folds_gain = math.frexp(gain)[0] == 0.5
        self.id_path: nn.Module = nn.Identity()
        if in_channels != out_channels:
            self.id_path = DALLEConv(in_channels, out_channels, 1)
        hidden = out_channels // 4
        widths = (in_channels, hidden, hidden, hidden, out_channels)
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for i, size in enumerate(kernel_sizes):
            # Not called, since ReLU is applied by the convolution before
            # it. It is here so that the convolutions keep their names.
            layers[f'relu_{i + 1}'] = nn.ReLU()
            layers[f'conv_{i + 1}'] = DALLEConv(widths[i], widths[i + 1], size)
        self.res_path = nn.Sequential(layers)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, in, H, W)`` to ``(B, out, H, W)``."""
        # Not in place, since the identity path needs the input as well.
        path = F.relu(x)
        *inner, last = (m for m in self.res_path if isinstance(m, DALLEConv))
        for conv in inner:
            path = conv(path, relu=True)
        if self.folds_gain:
            return last(path, gain=self.gain).add_(self.id_path(x))
        return torch.add(self.id_path(x), last(path), alpha=self.gain)


def make_group(
    in_channels: int,
    out_channels: int,
    num_blocks: int,
    gain: float,
    kernel_sizes: tuple[int, ...],
    resize: tuple[str, nn.Module] | None,
) -> nn.Sequential:
    """Stack the blocks of one resolution.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of every block's output.
        num_blocks: Number of blocks.
        gain: See `DALLEBlock`.
        kernel_sizes: See `DALLEBlock`.
        resize: Name of the layer that changes the resolution at the end, and
            the layer. None leaves it out.

    Returns:
        ``block_1``, ``block_2``, ..., and the resize layer.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for i in range(num_blocks):
        layers[f'block_{i + 1}'] = DALLEBlock(
            in_channels if i == 0 else out_channels,
            out_channels,
            gain,
            kernel_sizes,
        )
    if resize is not None:
        layers[resize[0]] = resize[1]
    return nn.Sequential(layers)


class FrozenTokenizer(BaseModule):
    """A network that is never trained: no gradient, always in eval mode.

    Args:
        precision: ``'fp32'``, ``'fp16'`` or ``'bf16'`` for all convolutions
            but the last, independent of autocast. ``'auto'`` is float16 on
            GPUs and float32 elsewhere, as in the authors' code.
        init_cfg: ``dict(type='Pretrained', checkpoint=path or URL)`` loads
            the weights; every tensor must match.
    """

    def __init__(
        self,
        precision: str = 'fp32',
        init_cfg: dict | list[dict] | None = None,
    ):
        super().__init__(init_cfg)
        if precision not in ('auto', *PRECISIONS):
            known = ['auto', *sorted(PRECISIONS)]
            raise ValueError(f'precision={precision!r} is none of {known}.')
        self.precision = precision
        self.weights_info: dict[str, str] | None = None

    @property
    def compute_dtype(self) -> torch.dtype:
        """The type that `precision` stands for on the weights' device."""
        if self.precision != 'auto':
            return PRECISIONS[self.precision]
        on_gpu = next(self.parameters()).device.type == 'cuda'
        return torch.float16 if on_gpu else torch.float32

    def arrange(self, x: Tensor) -> Tensor:
        """Cast images to `precision`, in the fastest memory layout."""
        x = x.to(self.compute_dtype)
        if x.is_cpu or self.compute_dtype != torch.float32:
            x = x.contiguous(memory_format=torch.channels_last)
        return x

    def freeze(self) -> None:
        """Disable gradients and set eval mode; the constructor's last step."""
        self.requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> 'FrozenTokenizer':
        """Stay in eval mode, whichever mode a parent module sets."""
        return super().train(False)

    def init_weights(self) -> None:
        """Load the configured weights; raise unless all are found."""
        if not init_pretrained(self):
            print_log(
                f'{type(self).__name__} has random weights: its tokens mean '
                "nothing. Set init_cfg=dict(type='Pretrained', "
                'checkpoint=...).',
                logger='current',
                level=30,
            )
            super().init_weights()
