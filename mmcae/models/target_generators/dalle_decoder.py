# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""DALL-E's image decoder: from visual tokens to images."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmcae.registry import MODELS

from .common import resolve_grid
from .dalle_layers import (
    DALLEConv,
    FrozenTokenizer,
    make_group,
    unmap_pixels,
)


@MODELS.register_module()
class DALLEDecoder(FrozenTokenizer):
    """Decoder of the discrete VAE: from visual tokens to pixel statistics.

    It is needed for visualization only, not for training. Tensor names are
    those of OpenAI's ``decoder.pkl``. Source: arXiv 2102.12092, appendix A.

    Args:
        group_count: Number of groups of blocks; each group but the last
            doubles the resolution.
        n_init: Width after the first convolution.
        n_hid: Width of the last group; each earlier group is twice as wide.
        n_blk_per_group: Blocks in a group.
        output_channels: Channels of the images.
        vocab_size: Number of codes.
        precision: ``'fp32'``, ``'fp16'`` or ``'bf16'`` for all convolutions
            but the last, which stays in float32.
        init_cfg: ``dict(type='Pretrained', checkpoint=path or URL)`` loads
            the weights; every tensor must match.
    """

    def __init__(
        self,
        group_count: int = 4,
        n_init: int = 128,
        n_hid: int = 256,
        n_blk_per_group: int = 2,
        output_channels: int = 3,
        vocab_size: int = 8192,
        precision: str = 'fp32',
        init_cfg: dict | list[dict] | None = None,
    ):
        super().__init__(precision, init_cfg)
        self.output_channels = output_channels
        self.vocab_size = vocab_size
        self.upsample = 2 ** (group_count - 1)
        gain = 1 / (group_count * n_blk_per_group) ** 2
        widths = [n_hid * 2**i for i in reversed(range(group_count))]
        blocks: OrderedDict[str, nn.Module] = OrderedDict()
        blocks['input'] = DALLEConv(vocab_size, n_init, 1)
        for i, width in enumerate(widths):
            last = i == group_count - 1
            blocks[f'group_{i + 1}'] = make_group(
                n_init if i == 0 else widths[i - 1],
                width,
                n_blk_per_group,
                gain,
                (1, 3, 3, 3),
                None if last else ('upsample', nn.Upsample(scale_factor=2)),
            )
        blocks['output'] = nn.Sequential(
            OrderedDict(
                relu=nn.ReLU(inplace=True),
                conv=DALLEConv(widths[-1], 2 * output_channels, 1),
            )
        )
        self.blocks: Any = nn.Sequential(blocks)
        self.freeze()

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Compute location and scale of the distribution of each pixel.

        Args:
            x: Tokens of an integer type, ``(B, h, w)``; or weights of the
                codes, such as one-hot vectors, ``(B, K, h, w)``.

        Returns:
            Locations, then scales, float32, ``(B, 2 * C, 8 * h, 8 * w)``.

        Raises:
            ValueError: If ``x`` has another shape or type.
        """
        first = self.blocks.input
        integers = not x.is_floating_point() and x.dtype != torch.bool
        with torch.autocast(x.device.type, enabled=False):
            if x.ndim == 3 and integers:
                # The convolution of a one-hot map is a look-up.
                table = first.w[:, :, 0, 0].t()
                x = (F.embedding(x.long(), table) + first.b).movedim(-1, 1)
                x = x.to(self.compute_dtype).contiguous()
            elif x.ndim == 4 and x.shape[1] == self.vocab_size:
                x = first(x.to(self.compute_dtype))
            else:
                raise ValueError(
                    f'{x.dtype} of shape {tuple(x.shape)} is neither tokens '
                    '(B, h, w) of an integer type nor weights of the codes '
                    f'(B, {self.vocab_size}, h, w).'
                )
            for name, block in self.blocks.named_children():
                if name.startswith('group_'):
                    x = block(x)
            return self.blocks.output(x.float())

    @torch.no_grad()
    def reconstruct(
        self, tokens: Tensor, grid: Sequence[int] | None = None
    ) -> Tensor:
        """Decode tokens to images.

        Args:
            tokens: Row-major, int64, ``(B, L)``.
            grid: Height and width of the token map. None means a square.

        Returns:
            Images in [0, 1], ``(B, C, H, W)``.

        Raises:
            ValueError: If the tokens do not fill the grid.
        """
        height, width = resolve_grid(tokens.shape[1], grid)
        statistics = self(tokens.view(-1, height, width))
        location = statistics[:, : self.output_channels]
        return unmap_pixels(torch.sigmoid(location))
