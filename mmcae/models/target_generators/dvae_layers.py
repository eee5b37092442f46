# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Layers and formulas of the discrete VAE."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def per_channel(value: float | Sequence[float], channels: int) -> Tensor:
    """Expand a number, or one number for each channel, to a tensor.

    Args:
        value: One number, or as many as there are channels.
        channels: Number of channels.

    Returns:
        float32, ``(C, 1, 1)``.
    """
    values = torch.as_tensor(value, dtype=torch.float32).reshape(-1, 1, 1)
    return values.expand(channels, 1, 1).clone()


def geometric(start: float, end: float, fraction: float) -> float:
    """Interpolate geometrically between two positive numbers.

    Args:
        start: Value at fraction 0.
        end: Value at fraction 1.
        fraction: Between 0 and 1.

    Returns:
        ``start * (end / start) ** fraction``.
    """
    return start * (end / start) ** fraction


def kl_to_uniform(logits: Tensor) -> Tensor:
    """KL divergence between each patch's codes and the uniform distribution.

    Args:
        logits: ``(B, K, h, w)``.

    Returns:
        The mean over images and patches, a scalar in nats.
    """
    log_q = F.log_softmax(logits, dim=1)
    per_patch = (log_q.exp() * log_q).sum(1) + math.log(logits.shape[1])
    return per_patch.mean()


def batch_kl_to_uniform(logits: Tensor) -> Tensor:
    """KL divergence between the batch's mean and the uniform distribution.

    Unlike `kl_to_uniform`, it is also zero when each patch chooses its code
    with certainty, as long as all codes are used equally often.

    Args:
        logits: ``(B, K, h, w)``.

    Returns:
        A scalar in nats.
    """
    share = logits.softmax(dim=1).mean((0, 2, 3))
    return math.log(logits.shape[1]) - torch.special.entr(share).sum()


def code_statistics(tokens: Tensor, vocab_size: int) -> tuple[Tensor, Tensor]:
    """Count how many codes are used, and measure how evenly.

    Args:
        tokens: int64, any shape.
        vocab_size: Number of codes.

    Returns:
        The number of different codes, and the perplexity: so many equally
        frequent codes would have the same entropy.
    """
    counts = torch.bincount(tokens.flatten(), minlength=vocab_size).double()
    share = counts / counts.sum()
    perplexity = torch.special.entr(share).sum().exp()
    return (counts > 0).sum().double(), perplexity


def psnr(images: Tensor, others: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of a set of images in [0, 1].

    Args:
        images: ``(B, C, H, W)``.
        others: Images to compare with, of the same shape.

    Returns:
        A scalar in decibels, from the mean squared error of all images.
    """
    error = F.mse_loss(images.float(), others.float())
    return -10 * torch.log10(error.clamp_min(1e-10))


def stage_widths(
    downsample: int, hidden_channels: Sequence[int] | None
) -> list[int]:
    """Choose the width of each stage of a discrete VAE.

    Args:
        downsample: Side of the square of pixels that a token stands for.
        hidden_channels: One width for each stage. None means 24, 48, 64,
            64, ...

    Returns:
        The widths; each stage halves the resolution.

    Raises:
        ValueError: If ``downsample`` is not a power of two above 1, or the
            number of widths does not fit it.
    """
    stages = int(math.log2(max(downsample, 1)))
    if downsample != 2**stages or stages == 0:
        raise ValueError(
            f'downsample={downsample} is not a power of two above 1.'
        )
    if hidden_channels is None:
        return [(24, 48, 64)[min(i, 2)] for i in range(stages)]
    if len(hidden_channels) != stages:
        raise ValueError(
            f'downsample={downsample} takes {stages} stages, but '
            f'hidden_channels={tuple(hidden_channels)} has '
            f'{len(hidden_channels)} widths.'
        )
    return list(hidden_channels)


class ResidualBlock(nn.Module):
    """Residual block: ReLU, 3x3, ReLU, 1x1; the last is initially zero.

    Args:
        channels: Channels of input and output.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` to the same shape."""
        path = self.conv1(F.relu(x))
        return x + self.conv2(F.relu(path, inplace=True))


def make_encoder(
    in_channels: int,
    widths: Sequence[int],
    num_res_blocks: int,
    overlap: bool = True,
    he_init: bool = False,
) -> nn.Sequential:
    """Build the encoder: one strided convolution for each stage.

    No layer works at full resolution, where it would cost most.

    Args:
        in_channels: Channels of the images.
        widths: Channels of the ``n`` stages.
        num_res_blocks: Residual blocks after the last stage.
        overlap: Whether kernels overlap, so that a feature depends on pixels
            beyond its own patch.
        he_init: Whether the weights are drawn so that features have the size
            of the pixels, instead of PyTorch's smaller default.

    Returns:
        Layers that map ``(B, C, H, W)`` to
        ``(B, widths[-1], H / 2 ** n, W / 2 ** n)``.
    """
    kernel, padding = (4, 1) if overlap else (2, 0)
    layers: list[nn.Module] = []
    for before, width in zip((in_channels, *widths), widths, strict=False):
        conv = nn.Conv2d(before, width, kernel, 2, padding)
        if he_init:
            nn.init.kaiming_normal_(conv.weight, nonlinearity='relu')
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
        layers += [conv, nn.ReLU(inplace=True)]
    layers += [ResidualBlock(widths[-1]) for _ in range(num_res_blocks)]
    return nn.Sequential(*layers)


def make_decoder(
    out_channels: int, widths: Sequence[int], num_res_blocks: int
) -> nn.Sequential:
    """Build the decoder: convolve at low resolution, then shuffle pixels.

    Args:
        out_channels: Channels of the images.
        widths: Channels of the ``n`` stages of the encoder.
        num_res_blocks: Residual blocks before the first stage.

    Returns:
        Layers that map ``(B, widths[-1], h, w)`` to
        ``(B, C, h * 2 ** n, w * 2 ** n)``.
    """
    up = (*reversed(widths[:-1]), out_channels)
    layers: list[nn.Module] = [
        ResidualBlock(widths[-1]) for _ in range(num_res_blocks)
    ]
    for before, width in zip((widths[-1], *up), up, strict=False):
        layers += [
            nn.ReLU(),
            nn.Conv2d(before, 4 * width, 3, padding=1),
            nn.PixelShuffle(2),
        ]
    return nn.Sequential(*layers)
