# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""DALL-E's image encoder: the tokenizer T of CAE (arXiv 2102.12092)."""

import warnings
from collections import OrderedDict
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from mmcae.models.layers.masking import PatchSplit
from mmcae.models.ops.linear import linear
from mmcae.models.target_generators.common import select_places
from mmcae.models.target_generators.dalle_layers import (
    DALLEConv,
    FrozenTokenizer,
    make_group,
)
from mmcae.registry import MODELS

# Rows of the last layer at a time: 4096 x 8192 logits are 134 MB.
_ROWS = 4096
# Images on which a reduced precision is compared with float32, once.
_COMPARED = 4


@MODELS.register_module(name=['DALLEEncoder', 'DALL-E'])
class DALLEEncoder(FrozenTokenizer):
    """Discrete VAE encoder: image to visual tokens, eight pixels a token.

    Tensor names are those of OpenAI's ``encoder.pkl`` and of OpenMMLab's
    ``dalle_encoder.pth``.

    Args:
        group_count (int): Resolutions; each but the last halves the size.
            Defaults to 4.
        n_hid (int): Width of the first group, doubled by each further one.
            Defaults to 256.
        n_blk_per_group (int): Blocks a group. Defaults to 2.
        input_channels (int): Channels of the images. Defaults to 3.
        vocab_size (int): Number of visual words. Defaults to 8192.
        device (torch.device | str, optional): Device of the parameters.
        requires_grad (bool): Accepted for mmpretrain's sake and ignored: a
            tokenizer is never trained.
        precision (str): ``'fp32'`` (default), ``'fp16'``, ``'bf16'`` or
            ``'auto'`` (float16 on GPUs, float32 elsewhere) for all
            convolutions but the last, which stays in float32.
        init_cfg (dict, optional): ``dict(type='Pretrained',
            checkpoint=path or URL)``; loads strictly.
    """

    # Pixels (0 to 255) are wanted as (x - mean) / std = 0.8 x / 255 + 0.1.
    pixel_norm = (-31.875, 318.75)

    def __init__(
        self,
        group_count: int = 4,
        n_hid: int = 256,
        n_blk_per_group: int = 2,
        input_channels: int = 3,
        vocab_size: int = 8192,
        device: torch.device | str | None = None,
        requires_grad: bool = False,
        precision: str = 'fp32',
        init_cfg: Any = None,
    ):
        super().__init__(precision, init_cfg)
        if requires_grad:
            warnings.warn(
                'requires_grad=True of DALLEEncoder is ignored: a tokenizer '
                'is never trained.',
                stacklevel=2,
            )
        self.input_channels = input_channels
        self.vocab_size = vocab_size
        self.downsample = 2 ** (group_count - 1)
        gain = 1 / (group_count * n_blk_per_group) ** 2
        widths = [n_hid * 2**i for i in range(group_count)]
        blocks: OrderedDict[str, nn.Module] = OrderedDict()
        blocks['input'] = DALLEConv(input_channels, n_hid, 7)
        for i, width in enumerate(widths):
            last = i == group_count - 1
            blocks[f'group_{i + 1}'] = make_group(
                widths[max(i - 1, 0)],
                width,
                n_blk_per_group,
                gain,
                (3, 3, 3, 1),
                None if last else ('pool', nn.MaxPool2d(2)),
            )
        blocks['output'] = nn.Sequential(
            OrderedDict(
                relu=nn.ReLU(inplace=True),
                conv=DALLEConv(widths[-1], vocab_size, 1),
            )
        )
        self.blocks: Any = nn.Sequential(blocks)
        self._compared = False
        self.freeze()
        if device is not None:
            self.to(device)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Compute the logits of every visual word at every place.

        Args:
            x (Tensor): Images (B, 3, H, W) in [0, 1], already mapped by
                :func:`~.dalle_layers.map_pixels` (0.8 x + 0.1).

        Returns:
            Tensor: Logits (B, K, H / 8, W / 8) in float32.
        """
        with torch.autocast(x.device.type, enabled=False):
            return self.blocks.output.conv(self._features(x))

    @torch.no_grad()
    def tokenize(
        self, images: Tensor, mask: Tensor | PatchSplit | None = None
    ) -> Tensor:
        """Turn images into visual tokens.

        The 1x1 convolution to the 8192 words is a sixth of the work; with a
        mask it runs only where a target is needed.

        Args:
            images (Tensor): (B, 3, H, W) in [0, 1], mapped (0.8 x + 0.1).
            mask (Tensor | PatchSplit, optional): Boolean (B, L), True =
                masked; or what ``split_patches`` made of that.

        Returns:
            Tensor: Tokens (B, L) int64 in row-major order; with a mask
            (N,): those of the masked places, image by image.

        Raises:
            ValueError: If shapes do not fit.
        """
        with torch.autocast(images.device.type, enabled=False):
            rows = select_places(self._features(images), mask)
            conv = self.blocks.output.conv
            w, b = conv.w.flatten(1).float(), conv.b.float()
            found = [linear(r, w, b).argmax(-1) for r in rows.split(_ROWS)]
            tokens = torch.cat(found)
        if not self._compared and self.compute_dtype != torch.float32:
            self._report_agreement(images[:_COMPARED])
        return tokens if mask is not None else tokens.view(len(images), -1)

    def _report_agreement(self, images: Tensor) -> None:
        """Log once how many tokens are those of full precision."""
        self._compared = True
        reduced, precision = self.tokenize(images), self.precision
        dtype = self.compute_dtype
        self.precision = 'fp32'
        try:
            share = (self.tokenize(images) == reduced).float().mean().item()
        finally:
            self.precision = precision
        print_log(
            f'Tokenizer in {dtype}: {share:.2%} of the tokens of '
            f'{len(images)} images are those of float32',
            logger='current',
        )

    def _features(self, x: Tensor) -> Tensor:
        """Everything before the last convolution, in its own precision."""
        if x.ndim != 4 or x.shape[1] != self.input_channels:
            raise ValueError(
                f'images have the shape {tuple(x.shape)}; DALLEEncoder '
                f'takes (B, {self.input_channels}, H, W).'
            )
        if x.shape[2] % self.downsample or x.shape[3] % self.downsample:
            raise ValueError(
                f'images of {x.shape[2]} x {x.shape[3]} pixels; each side '
                f'must be a multiple of {self.downsample}.'
            )
        x = self.arrange(x)
        for name, block in self.blocks.named_children():
            if name != 'output':
                x = block(x)
        return self.blocks.output.relu(x).float()
