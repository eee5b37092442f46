# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Layers and formulas of the discrete VAE."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def per_channel(value: float | Sequence[float], channels: int) -> Tensor:
    """Spread one value over all channels, or one value for each.

    Args:
        value (float | Sequence[float]): One value, or as many as channels.
        channels (int): Number of channels.

    Returns:
        Tensor: float32 (C, 1, 1).
    """
    values = torch.as_tensor(value, dtype=torch.float32).reshape(-1, 1, 1)
    return values.expand(channels, 1, 1).clone()


def geometric(start: float, end: float, fraction: float) -> float:
    """Interpolate by equal factors.

    Args:
        start (float): Value at 0, positive.
        end (float): Value at 1, positive.
        fraction (float): Position in [0, 1].

    Returns:
        float: ``start * (end / start) ** fraction``.
    """
    return start * (end / start) ** fraction


def kl_to_uniform(logits: Tensor) -> Tensor:
    """Divergence of a position's words from the uniform distribution.

    Args:
        logits (Tensor): (B, K, h, w).

    Returns:
        Tensor: Scalar, in nats: the mean over images and positions.
    """
    log_q = F.log_softmax(logits, dim=1)
    per_position = (log_q.exp() * log_q).sum(1) + math.log(logits.shape[1])
    return per_position.mean()


def batch_kl_to_uniform(logits: Tensor) -> Tensor:
    """Divergence of all positions' mean distribution from the uniform.

    Unlike :func:`kl_to_uniform` it is zero also when each position is sure
    of its word, as long as all words are used equally often.

    Args:
        logits (Tensor): (B, K, h, w).

    Returns:
        Tensor: Scalar, in nats.
    """
    share = logits.softmax(dim=1).mean((0, 2, 3))
    return math.log(logits.shape[1]) - torch.special.entr(share).sum()


def code_statistics(tokens: Tensor, vocab_size: int) -> tuple[Tensor, Tensor]:
    """Count how many words are used, and how evenly.

    Args:
        tokens (Tensor): int64, any shape.
        vocab_size (int): Number of words.

    Returns:
        tuple[Tensor, Tensor]: Number of different words, and perplexity
        (the number of equally frequent words with the same entropy).
    """
    counts = torch.bincount(tokens.flatten(), minlength=vocab_size).double()
    share = counts / counts.sum()
    perplexity = torch.special.entr(share).sum().exp()
    return (counts > 0).sum().double(), perplexity


def psnr(images: Tensor, others: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of a set of images in [0, 1].

    Args:
        images (Tensor): (B, C, H, W).
        others (Tensor): The same shape.

    Returns:
        Tensor: Scalar, in decibels, of the mean squared error of all.
    """
    error = F.mse_loss(images.float(), others.float())
    return -10 * torch.log10(error.clamp_min(1e-10))


def stage_widths(
    downsample: int, hidden_channels: Sequence[int] | None
) -> list[int]:
    """Choose the widths of a discrete VAE's stages.

    Args:
        downsample (int): Pixels a token.
        hidden_channels (Sequence[int], optional): One width a stage; if
            None 24, 48, 64, 64, ...

    Returns:
        list[int]: One width for each halving.

    Raises:
        ValueError: If ``downsample`` is not a power of two, or the number
            of widths is another.
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
    """ReLU, 3x3, ReLU, 1x1 on a residual path that starts at zero.

    Args:
        channels (int): Channels of input and output.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        path = self.conv1(F.relu(x))
        return x + self.conv2(F.relu(path, inplace=True))


def make_encoder(
    in_channels: int,
    widths: Sequence[int],
    num_res_blocks: int,
    overlap: bool = True,
) -> nn.Sequential:
    """Build the way down: every stage begins with a strided convolution.

    Nothing runs at full resolution, where it would cost most.

    Args:
        in_channels (int): Channels of the images.
        widths (Sequence[int]): Channels of the stages.
        num_res_blocks (int): Residual blocks after the last stage.
        overlap (bool): Whether a position looks beyond its own pixels.

    Returns:
        nn.Sequential: (B, C, H, W) to (B, widths[-1], H / 2^n, W / 2^n).
    """
    kernel, padding = (4, 1) if overlap else (2, 0)
    layers: list[nn.Module] = []
    for before, width in zip((in_channels, *widths), widths, strict=False):
        layers += [
            nn.Conv2d(before, width, kernel, 2, padding),
            nn.ReLU(inplace=True),
        ]
    layers += [ResidualBlock(widths[-1]) for _ in range(num_res_blocks)]
    return nn.Sequential(*layers)


def make_decoder(
    out_channels: int, widths: Sequence[int], num_res_blocks: int
) -> nn.Sequential:
    """Build the way up: convolve at the low resolution, then unfold.

    Args:
        out_channels (int): Channels of the images.
        widths (Sequence[int]): Channels of the encoder's stages.
        num_res_blocks (int): Residual blocks before the first stage.

    Returns:
        nn.Sequential: (B, widths[-1], h, w) to (B, C, h 2^n, w 2^n).
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
